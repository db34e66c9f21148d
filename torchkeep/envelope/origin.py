"""The request that items came from: what its envelope says of each."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from torchkeep.envelope.wire import MAX_TEXT_BYTES, EnvelopeError, Reader, member, pack_text
from torchkeep.ids import valid_id
from torchkeep.schema import Role

MAX_SEGMENTS: Final = 32

# The code of a member is its position: append only.
_ROLES: Final = (Role.DEFAULT, Role.CANARY, Role.SHADOW)
_IDS: Final = ("request id", "correlation id", "client", "session id")
_HEAD = struct.Struct("<QIBBBHHHHH")  # deadline, items, attempt, role, segments, five lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One request as it came in.

    `deadline_ns`, 0 for none, is on the monotonic clock of the host that gateway and handler share:
    setting the other clock must neither expire what waits nor keep it alive. `traceparent` is the
    header of W3C Trace Context as its caller or the gateway wrote it.
    """

    request_id: str
    items: int
    correlation_id: str | None = None
    client: str | None = None
    session_id: str | None = None
    traceparent: str = ""
    segments: Mapping[str, str] = field(default_factory=dict)
    deadline_ns: int = 0
    attempt: int = 1
    role: Role = Role.DEFAULT

    def as_stranger(self) -> Origin:
        """Return this origin without what only a gateway may say."""
        return replace(self, client=None, deadline_ns=0, attempt=1, role=Role.DEFAULT)


def pack_origin(origin: Origin) -> bytes:
    """Return what `read_origin` reads. Raises `EnvelopeError` if a text is too long."""
    texts = [
        origin.request_id.encode(),
        (origin.correlation_id or "").encode(),
        (origin.client or "").encode(),
        (origin.session_id or "").encode(),
        origin.traceparent.encode(),
    ]
    lengths = list(map(len, texts))
    if max(lengths) > MAX_TEXT_BYTES:
        raise EnvelopeError(f"a text of {max(lengths)} bytes does not fit an envelope")
    role, segments = _ROLES.index(origin.role), origin.segments
    head = (origin.deadline_ns, origin.items, origin.attempt, role, len(segments), *lengths)
    parts = [_HEAD.pack(*head), *texts]
    parts += [pack_text(text) for pair in segments.items() for text in pair]
    return b"".join(parts)


def read_origin(reader: Reader) -> Origin:
    """Read one origin. Raises `EnvelopeError`."""
    deadline, items, attempt, role, segments, *lengths = reader.unpack(_HEAD, "origins")
    if segments > MAX_SEGMENTS:
        raise EnvelopeError(f"an origin has {segments} segments; at most {MAX_SEGMENTS} fit")
    if attempt == 0:
        raise EnvelopeError("an origin has attempt 0; attempts count from 1")
    *ids, traceparent = reader.texts(lengths, "origins")
    for name, text in zip(_IDS, ids, strict=True):
        if text and not valid_id(text):
            raise EnvelopeError(f"the {name} of an origin is no id")
    request_id, correlation_id, client, session_id = ids
    if not request_id:
        raise EnvelopeError("an origin has no request id")
    return Origin(
        request_id=request_id,
        items=items,
        correlation_id=correlation_id or None,
        client=client or None,
        session_id=session_id or None,
        traceparent=traceparent,
        segments={reader.text("segments"): reader.text("segments") for _ in range(segments)},
        deadline_ns=deadline,
        attempt=attempt,
        role=member(_ROLES, role, "role"),
    )
