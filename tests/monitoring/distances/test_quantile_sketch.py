"""A sketch stands for its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitoring.quantile_sketch import sketch, sorted_finite
from tests.monitoring.distances.samples import any_column, messy_column

checked = settings(deadline=None, max_examples=100, derandomize=True)


@checked
@given(any_column(), st.integers(1, 50))
def test_its_distribution_is_off_by_half_a_weight_at_most(rows: NDArray[Any], limit: int) -> None:
    (quantiles,) = sketch(rows[:, None], limit)
    assert len(quantiles) == min(len(rows), limit)
    assert np.isin(quantiles, rows).all()
    points = np.unique(rows)
    true, told = (
        np.searchsorted(np.sort(each), points, side="right") / len(each)
        for each in (rows, quantiles)
    )
    assert np.abs(true - told).max() <= 1 / (2 * len(quantiles)) + 1e-12


@checked
@given(any_column())
def test_few_rows_are_kept_as_they_are(rows: NDArray[Any]) -> None:
    np.testing.assert_array_equal(sketch(rows[:, None], len(rows))[0], np.sort(rows))


@checked
@given(messy_column())
def test_only_finite_values_are_sorted(rows: NDArray[Any]) -> None:
    np.testing.assert_array_equal(sorted_finite(rows), np.sort(rows[np.isfinite(rows)]))


def test_integers_and_huge_values() -> None:
    np.testing.assert_array_equal(sorted_finite(np.array([3, 1, 2], np.uint8)), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(sorted_finite(np.array([1e200, 1.0, -1e300])), [1.0])


def test_features_without_a_finite_value_are_nan() -> None:
    rows = np.column_stack([np.full(3, np.nan), np.array([2.0, np.inf, 1.0])])
    np.testing.assert_array_equal(sketch(rows), [[np.nan] * 3, [1.0, 2.0, 2.0]])
    assert sketch(np.empty((0, 2))).shape == (2, 0)
    assert sketch(np.empty((3, 0))).shape == (0, 3)


@pytest.mark.parametrize(("shape", "limit"), [((3,), 5), ((3, 2), 0)])
def test_other_shapes_and_limits_are_refused(shape: tuple[int, ...], limit: int) -> None:
    with pytest.raises(ValueError, match="expected N F"):
        sketch(np.zeros(shape), limit)
