"""Values read from a stream whose header may lie about how many there are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from torchkeep.errors import DataError

_CHUNK = 1 << 20


class Readable(Protocol):
    """Anything that gives bytes: an open file, a gzip stream, a member of an archive."""

    def read(self, size: int, /) -> bytes: ...


def chunks(stream: Readable) -> Iterator[bytes]:
    """Yield the rest of a stream, a mebibyte at a time."""
    while chunk := stream.read(_CHUNK):
        yield chunk


def read_values(
    stream: Readable,
    path: Path,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    *,
    fortran: bool = False,
) -> NDArray[Any]:
    """Read the rest of `stream` as an array of exactly `shape`; the array can be written to.

    Memory grows with what is there, not with what was announced. Raises `DataError` if there is
    less or more.
    """
    expected = math.prod(shape) * dtype.itemsize
    content = bytearray()
    while len(content) < expected:
        chunk = stream.read(min(_CHUNK, expected - len(content)))
        if not chunk:
            announced = f"{expected:,}, as its header says"
            raise DataError(path, f"ends after {len(content):,} bytes of values", announced)
        content += chunk
    if stream.read(1):
        raise DataError(path, "goes on after its values", f"{expected:,} bytes, as its header says")
    return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if fortran else "C")
