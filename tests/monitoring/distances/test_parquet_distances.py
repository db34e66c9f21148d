"""Columns of Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.drift import Note, distances
from monitoring.parquet_distances import distances_of_parquet, sketch_of_parquet
from monitoring.quantile_sketch import sketch
from torchkeep.errors import UserError


def write(file: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), file, compression="zstd", row_group_size=300)
    return file


def test_files_together_are_their_rows_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(2000, 3)).astype(np.float32)
    window = rng.normal(0.1, size=(1000, 3)).astype(np.float32)
    names = ["a", "b", "c"]
    before = write(tmp_path / "before", dict(zip(names, reference.T, strict=True)))
    after = [
        write(tmp_path / f"after-{number}", dict(zip(names, part.T, strict=True)))
        for number, part in enumerate((window[:700], window[700:]))
    ]
    quantiles, rows = sketch_of_parquet([before], ["c", "a"], limit=512)
    assert rows == 2000
    np.testing.assert_array_equal(quantiles, sketch(reference[:, [2, 0]], 512))
    found = distances_of_parquet(after, ["c", "a"], quantiles, reference_rows=rows)
    expected = distances(quantiles, window[:, [2, 0]], reference_rows=2000)
    for name in ("kl", "wasserstein", "jensen_shannon", "psi", "ks", "ks_p_value", "rows"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_null_is_missing_and_other_numbers_are_numbers(tmp_path: Path) -> None:
    columns = {
        "holes": pa.array([1.0, None, 3.0] * 10),
        "none": pa.array([None] * 30, pa.float64()),
        "whole": pa.array(range(30), pa.int16()),
    }
    file = write(tmp_path / "file", columns)
    quantiles, _ = sketch_of_parquet([file], list(columns))
    found = distances_of_parquet([file], list(columns), quantiles)
    assert found.note == (Note.OK, Note.ALL_NAN, Note.OK)
    np.testing.assert_array_equal(found.rows, [20, 0, 30])
    assert found.wasserstein[2] == 0


def test_columns_that_cannot_be_measured_are_one_clear_line(tmp_path: Path) -> None:
    file = write(tmp_path / "file", {"text": ["a", "b"], "number": [1.0, 2.0]})
    with pytest.raises(UserError, match="has no column other"):
        distances_of_parquet([file], ["other"], np.zeros((1, 4)))
    with pytest.raises(UserError, match=r"text of .* holds no numbers"):
        distances_of_parquet([file], ["text"], np.zeros((1, 4)))
    with pytest.raises(ValueError, match="1 columns"):
        distances_of_parquet([file], ["number"], np.zeros((2, 4)))
