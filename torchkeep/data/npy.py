"""The header of a NumPy array file (.npy), read without `eval` and without pickle."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchkeep.data.stream import Readable, read_values
from torchkeep.errors import DataError

_LONGEST_HEADER = 4096
_HEADER = re.compile(
    r"\{\s*'descr':\s*'(?P<dtype>[|<>=]?[biufcOSUmM]\d*)',"
    r"\s*'fortran_order':\s*(?P<fortran>True|False),"
    r"\s*'shape':\s*\((?P<shape>[\d, ]*)\),?\s*\}\s*"
)
"""As NumPy and its imitators write it; a structured dtype does not match."""


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What an array file says it holds."""

    dtype: np.dtype[Any]
    fortran: bool
    shape: tuple[int, ...]

    def read_values(self, stream: Readable, path: Path) -> NDArray[Any]:
        """Read the values after the header. Raises `DataError`; check dtype and shape first."""
        return read_values(stream, path, self.dtype, self.shape, fortran=self.fortran)


def read_npy_header(stream: Readable, path: Path) -> NpyHeader:
    """Read the header at the start of `stream`. Raises `DataError`."""
    preamble = stream.read(8)
    if preamble[:6] != b"\x93NUMPY" or preamble[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise DataError(path, "is not an array", "the .npy format, version 1 to 3")
    size = int.from_bytes(stream.read(2 if preamble[6] == 1 else 4), "little")
    if size > _LONGEST_HEADER:
        raise DataError(path, f"a header of {size:,} bytes", f"at most {_LONGEST_HEADER:,}")
    header = _HEADER.fullmatch(stream.read(size).decode("latin-1"))
    if header is None:
        raise DataError(path, "a header that cannot be read", "one plain array")
    return NpyHeader(_dtype(header["dtype"], path), header["fortran"] == "True", _shape(header))


def _dtype(name: str, path: Path) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError) as error:
        raise DataError(path, f"values of an unknown type {name!r}", "uint8, 0 to 255") from error
    if dtype.hasobject:
        raise DataError(path, "holds pickled Python objects", "plain numbers: pickle is never read")
    return dtype


def _shape(header: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(part) for part in header["shape"].split(",") if part.strip())
