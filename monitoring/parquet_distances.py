"""Distances of features that lie in Parquet files, a column at a time.

Each thread reads one column, compares it and lets it go, so memory grows with the rows and the
threads but not with the features. Both parts run outside the GIL.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from monitoring.column_measures import ColumnMeasures, measure
from monitoring.drift import Distances, join
from monitoring.quantile_sketch import Column, column_sketch
from monitoring.reference import QUANTILES
from monitoring.reference_bins import BINS
from torchkeep.errors import UserError

BUFFER = 1 << 20
"""Bytes that are read at once of a column as it lies in the file."""


def distances_of_parquet(
    files: Sequence[Path],
    columns: Sequence[str],
    reference: NDArray[Any],
    *,
    reference_rows: int | None = None,
    bins: int = BINS,
    threads: int = 2,
) -> Distances:
    """Compare F columns of the files together with the sorted quantiles of a reference [F, Q].

    Null counts as missing. Raises `UserError` if a file lacks a column or it holds no numbers.
    """
    length = reference.shape[1]
    rows = length if reference_rows is None else reference_rows
    source = _Source(files)

    def one(name: str, quantiles: NDArray[Any]) -> ColumnMeasures:
        return measure(quantiles, source.read(name), rows, bins)

    with ThreadPoolExecutor(threads) as pool:
        measured = list(pool.map(one, columns, _rows_of(reference, columns)))
    return join(measured, rows, length)


def sketch_of_parquet(
    files: Sequence[Path], columns: Sequence[str], *, limit: int = QUANTILES, threads: int = 2
) -> tuple[NDArray[np.float64], int]:
    """Return the quantiles [F, Q] of F columns of the files, and how many rows there are.

    Raises `UserError` as `distances_of_parquet` does.
    """
    source = _Source(files)
    length = min(source.rows, limit)

    def one(name: str) -> NDArray[np.float64]:
        return column_sketch(source.read(name), length)

    with ThreadPoolExecutor(threads) as pool:
        sketches = list(pool.map(one, columns))
    return np.array(sketches).reshape(len(columns), length), source.rows


class _Source:
    """Files whose footers were read once."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [(file, pq.read_metadata(file)) for file in files]
        self.rows = sum(footer.num_rows for _, footer in self._files)

    def read(self, name: str) -> Column:
        """Return a column of all files together; null is NaN. Safe to call from many threads."""
        parts = [self._part(file, footer, name) for file, footer in self._files]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.float32), *parts])

    def _part(self, file: Path, footer: Any, name: str) -> Column:
        with pq.ParquetFile(file, metadata=footer, buffer_size=BUFFER, pre_buffer=False) as opened:
            table = opened.read([name], use_threads=False)
        if name not in table.column_names:
            raise UserError(f"{file} has no column {name}")
        values: Column = table.column(name).to_numpy()
        if values.dtype.kind not in "fiu":
            raise UserError(f"{name} of {file} holds no numbers", remedy="Name other columns.")
        return values


def _rows_of(reference: NDArray[Any], columns: Sequence[str]) -> NDArray[Any]:
    if reference.ndim != 2 or len(reference) != len(columns):
        raise ValueError(f"{len(columns)} columns, quantiles {reference.shape}")
    return reference
