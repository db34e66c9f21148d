"""Features to measure: of five kinds, every second one drifted, float32 in Parquet files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

KINDS = ("normal", "exponential", "pixels clipped at 0 and 1", "ReLU outputs", "256 grey levels")
DRIFT = 0.15
"""Standard deviations by which what a drifted feature is made from is moved."""
GROUP_ROWS = 250_000


def names_of(features: int) -> list[str]:
    """Return the names of the columns."""
    return [f"feature_{number}" for number in range(features)]


def drifted(feature: int) -> bool:
    """Return whether this feature of the current rows differs from the reference's."""
    return feature % 2 == 1


def values_of(feature: int, rows: int, *, current: bool, part: int) -> NDArray[np.float32]:
    """Return rows of a feature, the same for the same arguments."""
    draw = np.random.default_rng([feature, int(current), part])
    moved = DRIFT if current and drifted(feature) else 0.0
    raw = draw.standard_normal(rows, dtype=np.float32) + np.float32(moved)
    kind = KINDS[feature % len(KINDS)]
    if kind == "exponential":
        raw = draw.standard_exponential(rows, dtype=np.float32) * np.float32(1 + moved)
    elif kind == "pixels clipped at 0 and 1":
        raw = np.clip(0.5 + 0.4 * raw, 0.0, 1.0)
    elif kind == "ReLU outputs":
        raw = np.maximum(raw, 0.0)
    elif kind == "256 grey levels":
        raw = np.round(np.clip(0.5 + 0.2 * raw, 0.0, 1.0) * 255) / 255
    return raw.astype(np.float32)


def write_features(file: Path, rows: int, features: int, *, current: bool) -> None:
    """Write a Parquet file, zstd as the log store's, in row groups of `GROUP_ROWS`."""
    names = names_of(features)
    schema = pa.schema([(name, pa.float32()) for name in names])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for part, start in enumerate(range(0, rows, GROUP_ROWS)):
            count = min(GROUP_ROWS, rows - start)
            columns = [
                values_of(number, count, current=current, part=part) for number in range(features)
            ]
            writer.write_table(pa.table(columns, schema=schema))
