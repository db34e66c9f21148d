"""The idx format of MNIST and its kin, plain or gzipped.

A header of two zero bytes, a type code, the number of dimensions and each dimension (32 bits, big
endian), then the values in C order. http://yann.lecun.com/exdb/mnist/
"""

# N images, C channels, H W pixels

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchkeep.data.config import Caps
from torchkeep.data.stream import Readable, read_values
from torchkeep.errors import DataError

_GZIP = b"\x1f\x8b"
_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
}
_CODES = {dtype: code for code, dtype in _TYPES.items()}


def idx_header(array: NDArray[Any]) -> bytes:
    """Return the header of the idx file that holds `array` (uint8, or big-endian int32)."""
    code = _CODES[array.dtype]
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)


def read_idx_images(path: Path, caps: Caps) -> NDArray[np.uint8]:
    """Read uint8 images, N H W or N C H W, and return them as N C H W. Raises `DataError`."""
    with _opened(path, caps) as file:
        dtype, shape = _read_header(file, path)
        if dtype != np.uint8 or len(shape) not in (3, 4):
            raise DataError(path, f"{dtype.name} values of shape {shape}", "uint8 images, N H W")
        shape = shape if len(shape) == 4 else (shape[0], 1, *shape[1:])
        caps.check_images(path, shape)
        return read_values(file, path, dtype, shape)


def read_idx_labels(path: Path, caps: Caps) -> NDArray[np.int64]:
    """Read labels, one whole number an image. Raises `DataError`."""
    with _opened(path, caps) as file:
        dtype, shape = _read_header(file, path)
        if len(shape) != 1:
            raise DataError(path, f"values of shape {shape}", "labels, one dimension")
        if shape[0] > caps.images:
            raise DataError(path, f"{shape[0]:,} labels", f"at most {caps.images:,}")
        return read_values(file, path, dtype, shape).astype(np.int64)


@contextmanager
def _opened(path: Path, caps: Caps) -> Iterator[Readable]:
    """Yield the plain content of a file that may be gzipped; its faults become `DataError`."""
    caps.check_file(path)
    try:
        with path.open("rb") as file:
            gzipped = file.read(2) == _GZIP
            file.seek(0)
            if not gzipped:
                yield file
                return
            with gzip.GzipFile(fileobj=file) as content:
                yield content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, f"damaged gzip: {error}", "a whole gzip file") from error
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}", "an idx file") from error


def _read_header(file: Readable, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 4:
        fault = f"starts with {magic.hex(' ') or 'nothing'}"
        raise DataError(path, fault, "an idx header of whole numbers: 00 00 08 01 to 00 00 0c 04")
    dimensions = file.read(4 * magic[3])
    if len(dimensions) < 4 * magic[3]:
        raise DataError(path, "ends within its header", f"{magic[3]} dimensions")
    shape: tuple[int, ...] = struct.unpack(f">{magic[3]}I", dimensions)
    return _TYPES[magic[2]], shape
