"""One RPC, from its metadata to its terminal status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from gateway.principal import Permission, Principal
from gateway.question import Arrival
from gateway.refusal import Code, Refusal
from torchkeep.ids import new_id, valid_id

REQUEST_ID = "x-request-id"
SMALL = 65_536  # bytes, enough for any message that holds no tensors
LONGEST_TRACEPARENT = 512

Metadata = Mapping[str, str | bytes]
Read = Callable[[float | None], Awaitable[bytes | None]]
"""Returns the next message of the caller, None at the end. Raises `Refusal` for what is none, or
`TimeoutError` after so many seconds."""
Write = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Visit:
    """A call under way; `expires` is the caller's deadline on the clock of `arrival.received`.

    `named` tells that the caller's metadata named the request; `recorded` that its access record is
    written, or is the data plane's to write.
    """

    arrival: Arrival
    metadata: Metadata
    expires: float | None
    named: bool
    recorded: bool = False

    @classmethod
    def begin(cls, method: str, metadata: Metadata, left_s: float | None) -> Visit:
        """Return the visit that some metadata begins; ids that are none are ignored."""
        request_id = valid_id(text_of(metadata, REQUEST_ID))
        arrival = Arrival(
            protocol="grpc",
            route=method,
            request_id=request_id or new_id(),
            correlation_id=valid_id(text_of(metadata, "x-correlation-id")),
            traceparent=(text_of(metadata, "traceparent") or "")[:LONGEST_TRACEPARENT],
        )
        expires = None if left_s is None else arrival.received + left_s
        return cls(arrival, metadata, expires, request_id is not None)

    @property
    def token(self) -> str | None:
        """The API key that was shown."""
        scheme, _, token = (text_of(self.metadata, "authorization") or "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    @property
    def caller(self) -> Principal:
        """Who calls. Raises `Refusal` if that is not known."""
        if self.arrival.principal is None:
            raise Refusal(Code.UNAUTHENTICATED, "no API key was sent")
        return self.arrival.principal

    def require(self, permission: Permission) -> None:
        """Raise `Refusal` unless the caller may do that."""
        self.caller.require(permission)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A method with one answer; what is `open` needs no key and leaves no record.

    Its message has `most` bytes at most; with 0 it is not read at all: it would be empty anyway.
    """

    method: str  # package.Service/Method
    answer: Callable[[Visit, bytes], Awaitable[bytes]]
    open: bool = False
    most: int = SMALL


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRoute:
    """A method whose messages come and go until it returns."""

    method: str
    run: Callable[[Visit, Read, Write], Awaitable[None]]
    open: bool = False


def text_of(metadata: Metadata, key: str) -> str | None:
    """Return a value of the metadata if it is text."""
    value = metadata.get(key)
    return value if isinstance(value, str) else None
