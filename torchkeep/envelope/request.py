"""From gateway to handler: N items, and for each the request it came from."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from torchkeep.envelope.origin import Origin, pack_origin, read_origin
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
from torchkeep.schema import Operation

# The code of a member is its position: append only.
_OPERATIONS: Final = (Operation.PREDICT, Operation.EXPLAIN, Operation.PROBE)
_TENSORS: Final = {1: "|u1", 2: "<f4"}
_ENCODED: Final = 3
_BODY: Final = 4

_COUNTS = struct.Struct("<BII")  # operation, origins, items
_PAYLOAD = struct.Struct("<B")
_SIZE = struct.Struct("<I")
_IMAGE = struct.Struct("<III")  # channels, height, width


@dataclass(frozen=True, slots=True)
class BodyPayload:
    """A whole body as its caller sent it; how many items it holds, only the handler finds out."""

    content_type: str
    data: Buffer


Payload = NDArray[Any] | Sequence[Buffer] | BodyPayload


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEnvelope:
    """N items; `payload` is a tensor N C H W (uint8, or float32 in 0..1) or N encoded images.

    A body stands for one item here (N = 1), and has one origin.
    """

    operation: Operation
    origins: Sequence[Origin]
    origin_index: NDArray[np.uint32]  # N, into `origins`
    item_index: NDArray[np.uint32]  # N, position in the origin's request
    payload: Payload
    authentic: bool = False


def encode_request(envelope: RequestEnvelope, key: bytes | None) -> bytes:
    """Return the bytes of a request envelope, signed with `key`."""
    counts = (len(envelope.origins), len(envelope.item_index))
    parts = [_COUNTS.pack(_OPERATIONS.index(envelope.operation), *counts)]
    parts += map(pack_origin, envelope.origins)
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
        origins=[read_origin(reader) for _ in range(origins)],
        origin_index=reader.column("<u4", (items,), "origin indices"),
        item_index=reader.column("<u4", (items,), "item indices"),
        payload=_read_payload(reader, items),
        authentic=authentic,
    )
    reader.finish()
    _check_indices(envelope.origins, envelope.origin_index.tolist(), envelope.item_index.tolist())
    return envelope


def _pack_payload(payload: Payload) -> list[Buffer]:
    if isinstance(payload, BodyPayload):
        head = (_PAYLOAD.pack(_BODY), pack_text(payload.content_type))
        return [*head, _SIZE.pack(len(payload.data)), payload.data]
    if not isinstance(payload, np.ndarray):
        sizes = np.array([len(blob) for blob in payload], dtype="<u4")
        return [_PAYLOAD.pack(_ENCODED), sizes.tobytes(), *payload]
    code = 1 if payload.dtype == np.uint8 else 2
    values = payload.astype(_TENSORS[code], copy=False).tobytes()
    return [_PAYLOAD.pack(code), _IMAGE.pack(*payload.shape[1:]), values]


def _read_payload(reader: Reader, items: int) -> Payload:
    (code,) = reader.unpack(_PAYLOAD, "payload")
    if code == _ENCODED:
        sizes = reader.column("<u4", (items,), "image sizes").tolist()
        return [reader.take(size, "images") for size in sizes]
    if code == _BODY:
        return _read_body(reader, items)
    if code not in _TENSORS:
        raise EnvelopeError(f"the envelope has payload {code}; expected 1 to {_BODY}")
    image = reader.unpack(_IMAGE, "image shape")
    if prod(image) == 0:
        raise EnvelopeError("the images of the envelope are empty")
    return reader.column(_TENSORS[code], (items, *image), "tensor")


def _read_body(reader: Reader, items: int) -> BodyPayload:
    if items != 1:
        raise EnvelopeError(f"the envelope holds a body for {items} items; expected 1")
    content_type = reader.text("content type")
    (size,) = reader.unpack(_SIZE, "body")
    return BodyPayload(content_type, reader.take(size, "body"))


def _check_indices(origins: Sequence[Origin], indices: list[int], items: list[int]) -> None:
    """Check that each item names an origin of the envelope and a place in its request."""
    if max(indices) >= len(origins):
        raise EnvelopeError("an item names an origin that is not in the envelope")
    for index, item in zip(indices, items, strict=True):
        if item >= origins[index].items:
            raise EnvelopeError("an item lies outside the request it came from")
