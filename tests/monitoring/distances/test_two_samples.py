"""Two samples: the exact measures are SciPy's, and all behave as distances should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from monitoring.drift import jensen_shannon, kl, ks, psi, two_samples, wasserstein
from monitoring.reference_bins import bins_of
from monitoring.sorted_samples import EXACT_LAW_ROWS
from tests.monitoring.distances.samples import any_column

Column = NDArray[Any]
checked = settings(deadline=None, max_examples=100, derandomize=True)


@checked
@given(any_column(), any_column())
def test_wasserstein_and_ks_are_scipys(one: Column, other: Column) -> None:
    size = max(np.abs(one).max(), np.abs(other).max(), 1e-9)
    expected = stats.wasserstein_distance(one, other)
    assert wasserstein(one, other) == pytest.approx(expected, rel=1e-9, abs=1e-12 * size)
    assume(min(len(one), len(other)) > 1)  # SciPy divides by zero
    expected_ks = stats.ks_2samp(one, other, method="asymp")
    found = ks(one, other)
    assert found.statistic == pytest.approx(expected_ks.statistic, rel=1e-12)
    assert found.p_value >= expected_ks.pvalue - 1e-9


@checked
@given(any_column(), any_column())
def test_wasserstein_and_ks_know_no_order(one: Column, other: Column) -> None:
    size = max(np.abs(one).max(), np.abs(other).max(), 1e-9)
    there, back = two_samples(one, other), two_samples(other, one)
    assert there.wasserstein[0] == pytest.approx(back.wasserstein[0], rel=1e-9, abs=1e-12 * size)
    np.testing.assert_array_equal(there.ks, back.ks)


@checked
@given(any_column(), st.integers(1, 3), st.randoms(use_true_random=False))
def test_equal_distributions_are_at_no_distance(sample: Column, times: int, random: Any) -> None:
    again = np.tile(sample, times)
    random.shuffle(again)
    found = two_samples(sample, again)
    for name in ("kl", "jensen_shannon", "psi", "ks"):
        assert getattr(found, name)[0] == pytest.approx(0, abs=1e-7), name
    assert found.wasserstein[0] <= 1e-12 * np.abs(sample).max()
    assert found.ks_p_value[0] == 1


@checked
@given(any_column(2), any_column(2), st.floats(0.5, 4), st.integers(-50, 50))
def test_scale_and_place_do_not_matter(
    one: Column, other: Column, scale: float, shift: float
) -> None:
    moved = [sample * scale + shift for sample in (one, other)]
    # Rounding may join two values that are nearly equal: then it is another question.
    pooled, after = np.concatenate([one, other]), np.concatenate(moved)
    assume(len(np.unique(pooled)) == len(np.unique(after)))
    before, then = two_samples(one, other), two_samples(moved[0], moved[1])
    np.testing.assert_array_equal(then.ks, before.ks)
    size = np.abs(after).max() + 1
    assert then.wasserstein[0] == pytest.approx(
        scale * before.wasserstein[0], rel=1e-6, abs=1e-12 * size
    )


@checked
@given(any_column(), any_column())
def test_values_lie_where_they_must(one: Column, other: Column) -> None:
    found = two_samples(one, other)
    assert 0 <= found.ks[0] <= 1
    assert 0 <= found.jensen_shannon[0] <= 1
    assert 0 < found.ks_p_value[0] <= 1
    assert found.kl[0] >= -1e-12
    assert found.psi[0] >= found.kl[0] - 1e-12
    spread = max(one.max(), other.max()) - min(one.min(), other.min())
    assert found.wasserstein[0] <= spread * (1 + 1e-9)


def test_many_rows_have_scipys_p_value() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=3 * EXACT_LAW_ROWS), rng.normal(0.03, size=4 * EXACT_LAW_ROWS)
    expected = stats.ks_2samp(one, other, method="asymp").pvalue
    assert ks(one, other).p_value == pytest.approx(expected, rel=0.05)
    few = other[:200]
    assert ks(one, few).p_value == pytest.approx(
        stats.ks_2samp(one, few, method="asymp").pvalue, rel=1e-9
    )


def test_a_single_row_proves_little() -> None:
    assert ks(np.arange(100.0), np.array([1e6])).p_value == pytest.approx(2 / 101)


@pytest.mark.parametrize("kind", ["normal", "exponential", "clipped", "grey levels"])
def test_measures_of_shares_are_scipys_within_a_percent(kind: str) -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=200_000), rng.normal(0.3, 1.1, size=100_000)
    changes: dict[str, Callable[[Column], Column]] = {
        "normal": lambda rows: rows,
        "exponential": np.exp,
        "clipped": lambda rows: np.clip(rows, -1, 1),
        "grey levels": lambda rows: np.round(rows * 20),
    }
    one, other = changes[kind](one), changes[kind](other)
    bins = bins_of(np.sort(one))
    before, after = (bins.counts(np.sort(rows)) / len(rows) for rows in (one, other))
    assert kl(one, other) == pytest.approx(stats.entropy(after, before), rel=0.01)
    assert psi(one, other) == pytest.approx(
        stats.entropy(after, before) + stats.entropy(before, after), rel=0.01
    )
    assert jensen_shannon(one, other) == pytest.approx(
        jensenshannon(before, after, base=2), rel=0.01
    )
