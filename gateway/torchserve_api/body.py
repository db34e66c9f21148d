"""The body of TorchServe's own interface, over REST and gRPC alike, as a payload.

What can share a batch becomes pixels or an encoded image; anything else stays a body, for the
handler to open as if it had come directly. The first bytes decide what a body is.

Shapes: N images of C H W.
"""

from __future__ import annotations

import re
from math import prod
from typing import Final

import numpy as np

from gateway.question import Payload
from gateway.refusal import Code, Refusal
from gateway.upstream import ServedVersion
from torchkeep.envelope import BodyPayload

RAW_TYPE: Final = "application/octet-stream"

_IMAGE = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF.{4}WEBP", re.DOTALL)
_NPY_MAGIC = b"\x93NUMPY"
# Version 1.0 as NumPy writes it. A file that says the same in other words stays a body.
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '(\|u1|[<>]f[48])', 'fortran_order': False, "
    rb"'shape': \(([0-9, ]{1,64})\), \} *\n",
    re.DOTALL,
)
_MOST_NPY_HEAD = 256


def payload_of_body(body: bytes, content_type: str, served: ServedVersion) -> Payload:
    """Return one encoded image, N C H W raw pixels, or the body as it is.

    Raises `Refusal` if the body is empty or holds more raw images than a request may.
    """
    if not body:
        raise Refusal(Code.INVALID, "the body is empty; send an image, an npy, raw pixels or JSON")
    if _IMAGE.match(body) or _is_npy_of_one(body, served.input):
        return [body]
    if _is_raw(content_type) and not body.startswith(_NPY_MAGIC):
        count, rest = divmod(len(body), prod(served.input))
        if not rest:
            if count > served.max_items:
                raise Refusal(
                    Code.TOO_LARGE,
                    f"the request has {count} items; at most {served.max_items} are taken",
                )
            return np.frombuffer(body, dtype=np.uint8).reshape(count, *served.input)
    return BodyPayload(content_type, body)


def _is_raw(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == RAW_TYPE


def _is_npy_of_one(body: bytes, image: tuple[int, int, int]) -> bool:
    """Tell whether a body is a whole npy of one C H W image, or of one H W image if C is 1."""
    head = _NPY.match(body[:_MOST_NPY_HEAD])
    if head is None or head.end() != 10 + int.from_bytes(head[1], "little"):
        return False
    sides = [int(side) for side in head[3].split(b",") if side.strip().isdigit()]
    if len(sides) > 1 and sides[0] == 1 and tuple(sides[1:]) == image:
        sides = sides[1:]
    if tuple(sides) != image and not (image[0] == 1 and tuple(sides) == image[1:]):
        return False
    return len(body) - head.end() == prod(image) * int(head[2][2:])
