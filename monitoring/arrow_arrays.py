"""Columns of an Arrow table as numpy arrays, without a Python object for each value."""

# N rows, L values of the lists of all rows together

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class Lists(NamedTuple):
    """A column of lists: the values of all, and how many each row has."""

    values: pa.Array  # L
    lengths: NDArray[np.int64]  # N, 0 where a row has no list

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Lists:
        """Take a column of lists apart."""
        whole = column.combine_chunks()
        lengths = pc.fill_null(pc.list_value_length(whole), 0)
        return cls(whole.flatten(), lengths.to_numpy(zero_copy_only=False).astype(np.int64))

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of each value: L."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def fixed(self, width: int) -> NDArray[np.float64]:
        """Return the lists of `width` numbers: N `width`; NaN where one is of another length."""
        table = np.full((len(self.lengths), width), np.nan)
        fits = self.lengths == width
        table[fits] = floats(self.values)[np.repeat(fits, self.lengths)].reshape(-1, width)
        return table


def floats(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float64]:
    """Return numbers: N, NaN where there is none."""
    numbers: NDArray[np.float64] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return numbers


def integers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return whole numbers: N, 0 where there is none."""
    numbers: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
    return numbers


def booleans(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return truths: N, false where there is none."""
    truths: NDArray[np.bool_] = pc.fill_null(column, False).to_numpy()
    return truths


def texts(column: pa.ChunkedArray) -> NDArray[np.str_]:
    """Return texts: N, "" where there is none."""
    coded = pc.fill_null(column, "").combine_chunks().dictionary_encode()
    known = np.array(coded.dictionary.to_pylist() or [""], dtype=np.str_)
    found: NDArray[np.str_] = known[coded.indices.to_numpy(zero_copy_only=False)]
    return found


def fixed_bytes(column: pa.ChunkedArray, size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the rows of `size` bytes (N `size`, zeros elsewhere) and which rows those are (N)."""
    lengths = pc.fill_null(pc.binary_length(column), -1).to_numpy()
    fits = lengths == size
    table = np.zeros((len(lengths), size), np.uint8)
    joined = b"".join(column.filter(pa.array(fits)).to_pylist())
    table[fits] = np.frombuffer(joined, np.uint8).reshape(-1, size)
    return table, fits
