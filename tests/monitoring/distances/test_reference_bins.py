"""Bins fixed at a reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from numpy.typing import NDArray

from monitoring.quantile_sketch import column_sketch
from monitoring.reference_bins import bins_of
from tests.monitoring.distances.samples import any_column

checked = settings(deadline=None, max_examples=100, derandomize=True)


def test_a_continuous_reference_has_deciles() -> None:
    bins = bins_of(np.arange(1000.0))
    np.testing.assert_array_equal(bins.counts(np.arange(1000.0)), [100] * 10)
    np.testing.assert_array_equal(bins.counts(np.array([-5.0, 2000.0])), [1, *[0] * 8, 1])


def test_shares_are_right_though_the_quantiles_stand_for_more_rows() -> None:
    rows = np.sort(np.random.default_rng(0).normal(size=100_000))
    bins = bins_of(column_sketch(rows, 100))
    np.testing.assert_allclose(bins.counts(rows) / len(rows), 0.1, atol=0.001)


def test_a_frequent_value_is_a_bin_of_its_own() -> None:
    relu = np.sort(np.maximum(np.random.default_rng(0).normal(size=1000), 0))
    bins, zeros = bins_of(relu), (relu == 0).sum()
    counts = bins.counts(relu)
    assert counts[0] == 0
    assert counts[1] == zeros
    np.testing.assert_array_equal(bins.counts(np.array([-1e-9, 0.0]))[:2], [1, 1])


def test_a_constant_has_room_on_both_sides() -> None:
    bins = bins_of(np.full(7, 0.5))
    np.testing.assert_array_equal(bins.counts(np.array([0.1, 0.5, 0.5, 0.9])), [1, 2, 1])


def test_neighbouring_floats_are_told_apart() -> None:
    lower, upper = 1.0, np.nextafter(1.0, 2.0)
    bins = bins_of(np.array([lower] * 5 + [upper] * 5), 2)
    np.testing.assert_array_equal(bins.counts(np.array([lower, upper, upper]))[-2:], [1, 2])


@checked
@given(any_column(), any_column())
def test_every_row_is_counted_once(reference: NDArray[Any], rows: NDArray[Any]) -> None:
    bins = bins_of(np.sort(reference))
    counts = bins.counts(np.sort(rows))
    assert len(counts) == len(bins) <= 19
    assert counts.min() >= 0
    assert counts.sum() == len(rows)
