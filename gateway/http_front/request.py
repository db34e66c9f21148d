"""One request while it is answered: its headers, its ids, who asks, and what is known of it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.http_front.marks import GONE, INFERRING
from gateway.outcome import Outcome
from gateway.principal import Principal
from gateway.question import Arrival, Question
from gateway.refusal import Code, Refusal
from gateway.segments import parse_segments
from torchkeep.ids import new_id, valid_id
from torchkeep.schema import Operation

Receive = Callable[[], Awaitable[Any]]

_WHOLE = re.compile(rb"[0-9]{1,12}")


@dataclass(slots=True)
class Request:
    """A request on its way; `recorded` once its access record is the data plane's business."""

    arrival: Arrival
    headers: Mapping[bytes, bytes]
    params: Mapping[str, str]
    query: bytes
    receive: Receive
    state: dict[str, Any]
    principal: Principal | None = None
    recorded: bool = False
    held: int = 0  # bytes of the budget for bodies

    def header(self, name: bytes) -> str:
        """Return a header, "" if it is missing."""
        return self.headers.get(name, b"").decode("latin-1")

    def known_as(self, principal: Principal) -> None:
        """Take note of who asks, and take the id that its caller gave the request.

        A stranger names nothing: its records could pass for those of another's request.
        """
        self.principal = self.arrival.principal = principal
        given = self.headers.get(b"x-request-id")
        if given and (name := valid_id(given.decode("latin-1"))):
            self.arrival.request_id = name

    def asker(self) -> Principal:
        """Return who asks."""
        if self.principal is None:
            raise Refusal(Code.UNAUTHENTICATED, "this request needs a key")
        return self.principal

    def question(self, operation: Operation, payload: Any, timeout_s: float) -> Question:
        """Return what is asked of the data plane."""
        return Question(
            arrival=self.arrival,
            operation=operation,
            model=self.params["model"],
            version=self.params.get("version", ""),
            payload=payload,
            deadline=self.arrival.received + timeout_s,
            principal=self.asker(),
            session_id=valid_id(self.header(b"x-session-id")),
            segments=parse_segments(self.headers.get(b"x-segments")),
        )

    def timeout_s(self, longest: float) -> float:
        """Return how long the caller waits: `x-request-timeout-ms`, at most `longest`."""
        raw = self.headers.get(b"x-request-timeout-ms")
        if raw is None:
            return longest
        if not _WHOLE.fullmatch(raw) or not int(raw):
            raise Refusal(Code.INVALID, "x-request-timeout-ms is no whole number above 0")
        return min(longest, int(raw) / 1000)

    async def infer(
        self, ask: Callable[[Question], Awaitable[Outcome]], question: Question
    ) -> Outcome:
        """Have a question answered; a caller that goes away cancels it."""
        if GONE in self.state:
            raise Refusal(Code.CANCELLED, "the caller went away")
        self.recorded = True
        self.state[INFERRING] = asyncio.current_task()
        try:
            return await ask(question)
        finally:
            del self.state[INFERRING]


def arrival_of(headers: Mapping[bytes, bytes], route: str) -> Arrival:
    """Return what is known of a request when its head is there, and not yet who asks."""
    correlation = headers.get(b"x-correlation-id")
    return Arrival(
        protocol="rest",
        route=route,
        request_id=new_id(),
        received=time.monotonic(),
        correlation_id=valid_id(correlation.decode("latin-1")) if correlation else None,
        traceparent=headers.get(b"traceparent", b"").decode("latin-1"),
    )


def bearer(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the key that a request shows, None if it shows none."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
