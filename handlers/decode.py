"""From the bytes of a request to a body: which kind it is, and whether it is within the limits."""

from __future__ import annotations

from typing import Any

import numpy as np

from handlers.bodies import Body, EncodedBody, JsonBody, TensorBody
from handlers.formats import IMAGES, RAW_TYPE, Buffer, Format, body_format, media_type
from handlers.json_body import parse_json
from handlers.npy import open_npy
from handlers.pixels import Expected, sides
from torchkeep.errors import ItemError
from torchkeep.schema import ItemStatus


def open_body(data: Buffer, content_type: str, expected: Expected) -> tuple[Body, dict[str, Any]]:
    """Return the items of a request and what its JSON, if it is any, says of itself.

    Nothing is decoded yet. Raises `ItemError` if the request cannot be taken apart or is over a
    limit; then no item of it is answered.
    """
    check_size(data, expected)
    kind = body_format(data, content_type)
    if kind is Format.JSON:
        document = parse_json(data, expected)
        return JsonBody(document, len(data), expected), document.about
    if kind in IMAGES:
        return EncodedBody([data], expected), {}
    if kind is Format.NPY:
        return TensorBody(open_npy(data, expected), kind), {}
    return _open_raw(data, content_type, expected), {}


def check_size(data: Buffer, expected: Expected) -> None:
    """Raise `ItemError` if a body is empty or over the limit on bytes."""
    if len(data) == 0:
        raise ItemError(ItemStatus.BAD_INPUT, "the body is empty")
    if len(data) > expected.limits.max_bytes:
        raise ItemError(
            ItemStatus.TOO_LARGE,
            f"the body has {len(data)} bytes; at most {expected.limits.max_bytes} are taken",
        )


def _open_raw(data: Buffer, content_type: str, expected: Expected) -> TensorBody:
    declared = media_type(content_type)
    if declared.startswith("image/"):
        raise ItemError(
            ItemStatus.UNSUPPORTED,
            f"the body is declared {declared[:40]!r} but is no PNG, JPEG or WebP",
        )
    count, rest = divmod(len(data), expected.values)
    if rest:
        size = f"{expected.values} bytes ({sides(expected.shape)})"
        if declared == RAW_TYPE:
            raise ItemError(
                ItemStatus.BAD_INPUT,
                f"the raw tensor has {len(data)} bytes; expected a multiple of {size}",
            )
        raise ItemError(
            ItemStatus.UNSUPPORTED,
            f"the body is no PNG, JPEG, WebP, npy or JSON, and its {len(data)} bytes are no raw "
            f"tensor either: expected a multiple of {size}",
        )
    expected.check_items(count)
    pixels = np.frombuffer(data, dtype=np.uint8)
    return TensorBody(pixels.reshape(count, *expected.shape), Format.RAW)
