"""The body of TorchServe's own interface, over REST and gRPC alike, as a payload.

What can share a batch becomes pixels or an encoded image; anything else stays a body, for the
handler to open as if it had come directly. The first bytes decide what a body is.

Shapes: N images of C H W.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.question import Payload
from gateway.refusal import Code, Refusal
from gateway.upstream import ServedVersion
from torchkeep.envelope import BodyPayload

RAW_TYPE: Final = "application/octet-stream"
MAX_CONTENT_TYPE: Final = 256

_IMAGE = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF.{4}WEBP", re.DOTALL)
_NPY_MAGIC = b"\x93NUMPY"
# Version 1.0 as NumPy writes it. A file that says the same in other words stays a body.
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '(\|u1|[<>]f[248])', 'fortran_order': False, "
    rb"'shape': \(([0-9, ]{1,64})\), \} *\n",
    re.DOTALL,
)
_MOST_NPY_HEAD = 256


def payload_of_body(body: bytes, content_type: str, served: ServedVersion) -> Payload:
    """Return one encoded image, N C H W values, or the body as it is.

    Raises `Refusal` if the body is empty, holds more images than a request may, or has a content
    type that is none.
    """
    if len(content_type) > MAX_CONTENT_TYPE:
        raise Refusal(
            Code.INVALID,
            f"the content type has {len(content_type)} characters; "
            f"at most {MAX_CONTENT_TYPE} are read",
        )
    if not body:
        raise Refusal(Code.INVALID, "the body is empty; send an image, an npy, raw pixels or JSON")
    if _IMAGE.match(body):
        return [body]
    if body.startswith(_NPY_MAGIC):
        images = _images_of_npy(body, served)
        return BodyPayload(content_type, body) if images is None else images
    if _is_raw(content_type):
        count, rest = divmod(len(body), prod(served.input))
        if not rest:
            _check_count(count, served)
            return np.frombuffer(body, dtype=np.uint8).reshape(count, *served.input)
    return BodyPayload(content_type, body)


def _is_raw(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == RAW_TYPE


def _images_of_npy(body: bytes, served: ServedVersion) -> list[bytes] | NDArray[Any] | None:
    """Return the images of a whole npy, uint8 or float32 of N C H W; None if it is no such one.

    A single image that the handler reads by itself stays as it is, so that its record says npy.
    """
    head = _NPY.match(body[:_MOST_NPY_HEAD])
    if head is None or head.end() != 10 + int.from_bytes(head[1], "little"):
        return None
    count = _count(head[3], served.input)
    dtype = np.dtype(head[2].decode())
    if not count or len(body) - head.end() != count * prod(served.input) * dtype.itemsize:
        return None
    _check_count(count, served)
    if count == 1 and dtype.itemsize != 2:
        return [body]
    values = np.frombuffer(body, dtype=dtype, offset=head.end()).reshape(count, *served.input)
    if dtype.itemsize == 1:
        return values
    with np.errstate(over="ignore", invalid="ignore"):  # the handler judges values
        return values.astype("<f4", copy=False)


def _count(shape: bytes, image: tuple[int, int, int]) -> int:
    """Return how many images an npy's shape tells of, 0 if it is of something else.

    N C H W or C H W; where C is 1, N H W or H W too.
    """
    sides = tuple(int(side) for side in shape.split(b",") if side.strip().isdigit())
    for one in (image, image[1:]) if image[0] == 1 else (image,):
        if sides == one:
            return 1
        if sides[1:] == one:
            return sides[0]
    return 0


def _check_count(count: int, served: ServedVersion) -> None:
    if count > served.max_items:
        raise Refusal(
            Code.TOO_LARGE,
            f"the request has {count} items; at most {served.max_items} are taken",
        )
