"""Tensors as they travel: named, typed, flat, little endian.

Source: Open Inference Protocol v2 and Triton's "binary tensor data" extension.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

BYTES: Final = "BYTES"
NUMPY_TYPES: Final = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("|u1"),
    "INT32": np.dtype("<i4"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
}
"""How values of a datatype lie in memory; BF16 and BYTES have no such type."""

_CODES: Final = {"BOOL": "?", "UINT8": "B", "INT32": "i", "FP16": "e", "FP32": "f"}
_LENGTH = struct.Struct("<I")


class InputTensor(NamedTuple):
    """A tensor of a request, not believed yet: exactly one of `raw` and `values` is there.

    `values` are the numbers, texts or bytes of the tensor, flat or nested as its shape says.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes | memoryview | None
    values: Sequence[Any] | None


class OutputTensor(NamedTuple):
    """A tensor of an answer; `values` are in C order, those of BYTES are texts."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any] | NDArray[Any]

    def raw(self) -> bytes:
        """Return the values as the binary extension and `raw_output_contents` want them."""
        values = self.values
        if self.datatype == BYTES:
            return pack_bytes([text.encode() for text in values])
        if isinstance(values, list):  # a good deal faster than by way of an array
            return struct.pack(f"<{len(values)}{_CODES[self.datatype]}", *values)
        return np.asarray(values, dtype=NUMPY_TYPES[self.datatype]).tobytes()

    def flat(self) -> list[Any]:
        """Return the values as a flat list of Python's own numbers or texts."""
        if isinstance(self.values, np.ndarray):
            flat: list[Any] = self.values.reshape(-1).tolist()
            return flat
        return list(self.values)


def pack_bytes(elements: Sequence[bytes]) -> bytes:
    """Return the raw form of BYTES: for each element its length in 4 bytes, then itself."""
    if len(elements) == 1:
        return _LENGTH.pack(len(elements[0])) + elements[0]
    return b"".join([part for blob in elements for part in (_LENGTH.pack(len(blob)), blob)])


def unpack_bytes(raw: bytes | memoryview, count: int) -> list[memoryview]:
    """Return `count` elements that look into `raw`. Raises `ValueError` unless it holds so many."""
    view = memoryview(raw)
    found: list[memoryview] = []
    offset = 0
    for _ in range(count):
        if offset + _LENGTH.size > len(view):
            raise ValueError(f"it ends after {len(found)} of {count} elements")
        start = offset + _LENGTH.size
        offset = start + _LENGTH.unpack_from(view, offset)[0]
        if offset > len(view):
            raise ValueError(f"element {len(found)} is longer than what is left")
        found.append(view[start:offset])
    if offset != len(view):
        raise ValueError(f"{len(view) - offset} bytes are left after {count} elements")
    return found


def shape_text(shape: Sequence[int | str]) -> str:
    """Return a shape for a message: `[4, 1, 28, 28]`; a long one is cut."""
    sides = [str(side) for side in shape[:8]] + ["…"] * (len(shape) > 8)
    return f"[{', '.join(sides)}]"


def volume(shape: Sequence[int]) -> int:
    """Return how many values a shape holds."""
    return prod(shape)
