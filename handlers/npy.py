"""NumPy's `.npy`, read without `numpy.load`: no pickle, no eval, checked before it is touched.

Layout: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.formats import Buffer
from handlers.pixels import Expected, sides
from torchkeep.errors import ItemError
from torchkeep.schema import ItemStatus

MAX_HEADER_BYTES = 4096
DTYPES = frozenset({"|u1", "<u1", ">u1", "u1", "<f4", ">f4", "<f8", ">f8"})

_LENGTHS = {1: struct.Struct("<H"), 2: struct.Struct("<I"), 3: struct.Struct("<I")}
_DESCR = re.compile(r"""(['"])descr\1\s*:\s*(['"])([^'"]*)\2""")
_ORDER = re.compile(r"""(['"])fortran_order\1\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""(['"])shape\1\s*:\s*\(([0-9,\s]{0,200})\)""")
_FRAME = re.compile(r"\s*\{[\s,]*\}\s*")


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What a header says; `start` is where the values begin."""

    dtype: str
    fortran_order: bool
    shape: tuple[int, ...]
    start: int


def open_npy(data: Buffer, expected: Expected) -> NDArray[Any]:
    """Return N C H W values that look into `data`: uint8, float32 or float64 of any byte order.

    Raises `ItemError` unless it holds 1 to `max_items` images of the expected shape, and no more.
    """
    header = read_header(data)
    count = _count(header.shape, expected)
    expected.check_items(count)
    dtype = np.dtype(header.dtype)
    needed, found = prod(header.shape) * dtype.itemsize, len(data) - header.start
    if found != needed:
        raise _bad(f"the npy holds {found} bytes of values; its shape needs {needed}")
    values = np.frombuffer(data, dtype=dtype, offset=header.start)
    images = values.reshape(header.shape, order="F" if header.fortran_order else "C")
    return images.reshape(count, *expected.shape)


def read_header(data: Buffer) -> NpyHeader:
    """Read the header alone. Raises `ItemError` if it is damaged or its dtype is not taken."""
    major = data[6] if len(data) > 6 else 0
    layout = _LENGTHS.get(major)
    if layout is None or len(data) < 8 + layout.size:
        raise _bad("the npy header is truncated or of an unknown version")
    (length,) = layout.unpack(data[8 : 8 + layout.size])
    start = 8 + layout.size + length
    if length > MAX_HEADER_BYTES or start > len(data):
        raise _bad(f"the npy header claims {length} bytes, more than there are or are taken")
    text = bytes(data[8 + layout.size : start]).decode("latin-1")
    descr, order, shape = _DESCR.search(text), _ORDER.search(text), _SHAPE.search(text)
    if not (descr and order and shape and _is_whole(text, descr, order, shape)):
        raise _bad("the npy header is not as NumPy writes it for a plain array")
    if descr[3] not in DTYPES:
        raise _bad(f"the npy has dtype {descr[3][:20]!r}; expected uint8, float32 or float64")
    return NpyHeader(descr[3], order[2] == "True", _parse_shape(shape[2]), start)


def _is_whole(text: str, *matches: re.Match[str]) -> bool:
    """Tell whether nothing but a dict's braces and commas is left beside the matches."""
    for match in matches:
        text = text.replace(match[0], "", 1)
    return _FRAME.fullmatch(text) is not None


def _parse_shape(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if parts[-1] == "":
        parts.pop()
    if len(parts) > 4 or not all(part.isdigit() and len(part) < 12 for part in parts):
        raise _bad("the npy has a shape that is none, or more than 4 dimensions")
    return tuple(int(part) for part in parts)


def _count(shape: tuple[int, ...], expected: Expected) -> int:
    """Return how many images a shape holds: C H W, H W (one channel), N C H W or N H W."""
    image = expected.shape
    if shape == image or (image[0] == 1 and shape == image[1:]):
        return 1
    if shape[1:] == image or (image[0] == 1 and shape[1:] == image[1:]):
        return shape[0]
    raise _bad(f"the npy has shape {sides(shape)}; expected {sides(image)}, or N × {sides(image)}")


def _bad(message: str) -> ItemError:
    return ItemError(ItemStatus.BAD_INPUT, message)
