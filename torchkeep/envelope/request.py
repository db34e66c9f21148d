"""From gateway to handler: N items, and for each the request it came from."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from torchkeep.envelope.wire import (
    REQUEST,
    Buffer,
    EnvelopeError,
    Reader,
    member,
    pack_text,
    seal,
    unseal,
)
from torchkeep.ids import valid_id
from torchkeep.schema import Operation, Role

MAX_SEGMENTS: Final = 32

# The code of a member is its position: append only.
_OPERATIONS: Final = (Operation.PREDICT, Operation.EXPLAIN)
_ROLES: Final = (Role.DEFAULT, Role.CANARY, Role.SHADOW)
_TENSORS: Final = {1: "|u1", 2: "<f4"}
_ENCODED: Final = 3

_COUNTS = struct.Struct("<BII")  # operation, origins, items
_ORIGIN = struct.Struct("<QIBBB")  # deadline, items, attempt, role, segments
_PAYLOAD = struct.Struct("<B")
_IMAGE = struct.Struct("<III")  # channels, height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One request as it came in; `deadline_ns` is UTC since 1970, 0 for none."""

    request_id: str
    items: int
    correlation_id: str | None = None
    client: str | None = None
    session_id: str | None = None
    segments: Mapping[str, str] = field(default_factory=dict)
    deadline_ns: int = 0
    attempt: int = 1
    role: Role = Role.DEFAULT

    def as_stranger(self) -> Origin:
        """Return this origin without what only a gateway may say."""
        return replace(self, client=None, deadline_ns=0, attempt=1, role=Role.DEFAULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEnvelope:
    """N items; `payload` is a tensor N C H W (uint8, or float32 in 0..1) or N encoded images."""

    operation: Operation
    origins: Sequence[Origin]
    origin_index: NDArray[np.uint32]  # N, into `origins`
    item_index: NDArray[np.uint32]  # N, position in the origin's request
    payload: NDArray[Any] | Sequence[Buffer]
    authentic: bool = False


def encode_request(envelope: RequestEnvelope, key: bytes | None) -> bytes:
    """Return the bytes of a request envelope, signed with `key`."""
    counts = (len(envelope.origins), len(envelope.item_index))
    parts = [_COUNTS.pack(_OPERATIONS.index(envelope.operation), *counts)]
    parts += map(_pack_origin, envelope.origins)
    parts.append(envelope.origin_index.astype("<u4").tobytes())
    parts.append(envelope.item_index.astype("<u4").tobytes())
    return seal(REQUEST, [*parts, *_pack_payload(envelope.payload)], key)


def decode_request(data: Buffer, key: bytes | None, *, max_items: int) -> RequestEnvelope:
    """Read a request envelope; its arrays and images look into `data`.

    Raises `EnvelopeError` on anything that is not exactly one envelope of 1 to `max_items` items.
    """
    reader, authentic = unseal(data, REQUEST, key)
    operation, origins, items = reader.unpack(_COUNTS, "counts")
    if not 1 <= items <= max_items:
        raise EnvelopeError(f"the envelope holds {items} items; expected 1 to {max_items}")
    if not 1 <= origins <= items:
        raise EnvelopeError(f"the envelope holds {origins} origins for {items} items")
    envelope = RequestEnvelope(  # the arguments read on, in this order
        operation=member(_OPERATIONS, operation, "operation"),
        origins=[_read_origin(reader) for _ in range(origins)],
        origin_index=reader.column("<u4", (items,), "origin indices"),
        item_index=reader.column("<u4", (items,), "item indices"),
        payload=_read_payload(reader, items),
        authentic=authentic,
    )
    reader.finish()
    _check_indices(envelope)
    return envelope


def _pack_origin(origin: Origin) -> bytes:
    texts = [origin.request_id, origin.correlation_id, origin.client, origin.session_id]
    texts += [text for pair in origin.segments.items() for text in pair]
    numbers = (origin.deadline_ns, origin.items, origin.attempt)
    head = _ORIGIN.pack(*numbers, _ROLES.index(origin.role), len(origin.segments))
    return head + b"".join(pack_text(text or "") for text in texts)


def _read_origin(reader: Reader) -> Origin:
    deadline, items, attempt, role, segments = reader.unpack(_ORIGIN, "origins")
    if segments > MAX_SEGMENTS:
        raise EnvelopeError(f"an origin has {segments} segments; at most {MAX_SEGMENTS} fit")
    if attempt == 0:
        raise EnvelopeError("an origin has attempt 0; attempts count from 1")
    names = ("request id", "correlation id", "client", "session id")
    request_id, correlation_id, client, session_id = (_read_id(reader, name) for name in names)
    if request_id is None:
        raise EnvelopeError("an origin has no request id")
    return Origin(
        request_id=request_id,
        items=items,
        correlation_id=correlation_id,
        client=client,
        session_id=session_id,
        segments={reader.text("segments"): reader.text("segments") for _ in range(segments)},
        deadline_ns=deadline,
        attempt=attempt,
        role=member(_ROLES, role, "role"),
    )


def _read_id(reader: Reader, name: str) -> str | None:
    text = reader.text(name)
    if text and not valid_id(text):
        raise EnvelopeError(f"the {name} of an origin is no id")
    return text or None


def _pack_payload(payload: NDArray[Any] | Sequence[Buffer]) -> list[Buffer]:
    if not isinstance(payload, np.ndarray):
        sizes = np.array([len(blob) for blob in payload], dtype="<u4")
        return [_PAYLOAD.pack(_ENCODED), sizes.tobytes(), *payload]
    code = 1 if payload.dtype == np.uint8 else 2
    values = payload.astype(_TENSORS[code], copy=False).tobytes()
    return [_PAYLOAD.pack(code), _IMAGE.pack(*payload.shape[1:]), values]


def _read_payload(reader: Reader, items: int) -> NDArray[Any] | list[memoryview]:
    (code,) = reader.unpack(_PAYLOAD, "payload")
    if code == _ENCODED:
        sizes = reader.column("<u4", (items,), "image sizes").tolist()
        return [reader.take(size, "images") for size in sizes]
    if code not in _TENSORS:
        raise EnvelopeError(f"the envelope has payload {code}; expected 1, 2 or 3")
    image = reader.unpack(_IMAGE, "image shape")
    if prod(image) == 0:
        raise EnvelopeError("the images of the envelope are empty")
    return reader.column(_TENSORS[code], (items, *image), "tensor")


def _check_indices(envelope: RequestEnvelope) -> None:
    if int(envelope.origin_index.max()) >= len(envelope.origins):
        raise EnvelopeError("an item names an origin that is not in the envelope")
    totals = np.array([origin.items for origin in envelope.origins], dtype=np.uint32)
    if (envelope.item_index >= totals[envelope.origin_index]).any():
        raise EnvelopeError("an item lies outside the request it came from")
