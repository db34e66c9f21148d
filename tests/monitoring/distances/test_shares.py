"""Measures of shares agree with SciPy's, and smoothing does what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from monitoring.shares import (
    jensen_shannon_of_shares,
    kl_of_shares,
    psi_by_chance,
    psi_of_shares,
    smoothed_shares,
    total_variation,
)

checked = settings(deadline=None, max_examples=100, derandomize=True)


@st.composite
def two_counts(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw two rows of counts over the same bins, each with something."""
    bins = draw(st.integers(1, 12))
    one, other = (
        np.array(draw(st.lists(st.integers(0, 50), min_size=bins, max_size=bins))) for _ in range(2)
    )
    one[0], other[-1] = max(one[0], 1), max(other[-1], 1)
    return one, other


@checked
@given(two_counts())
def test_they_are_scipys(counts: tuple[NDArray[Any], NDArray[Any]]) -> None:
    one, other = smoothed_shares(*counts)
    assert kl_of_shares(other, one) == pytest.approx(stats.entropy(other, one), abs=1e-12)
    assert psi_of_shares(one, other) == pytest.approx(
        stats.entropy(other, one) + stats.entropy(one, other), abs=1e-12
    )
    assert psi_of_shares(one, other) == psi_of_shares(other, one)
    raw_one, raw_other = (each / each.sum() for each in counts)
    assert jensen_shannon_of_shares(raw_one, raw_other) == pytest.approx(
        jensenshannon(raw_one, raw_other, base=2), abs=1e-7
    )


@checked
@given(two_counts())
def test_smoothing_leaves_no_share_zero_beside_another(
    counts: tuple[NDArray[Any], NDArray[Any]],
) -> None:
    one, other = smoothed_shares(*counts)
    assert one.sum() == pytest.approx(1)
    assert other.sum() == pytest.approx(1)
    np.testing.assert_array_equal(one > 0, other > 0)
    same, again = smoothed_shares(counts[0], 3 * counts[0])
    np.testing.assert_allclose(same, again, atol=1e-12)


def test_smoothing_as_documented() -> None:
    before, after = smoothed_shares(np.array([50, 50, 0, 0]), np.array([0, 8, 2, 0]))
    np.testing.assert_allclose(before, np.array([50, 50, 0.5, 0]) / 100.5)
    np.testing.assert_allclose(after, (np.array([0, 8, 2, 0]) + 1.5 * before) / 11.5)


def test_many_rows_of_shares_at_once() -> None:
    one = np.array([[1.0, 0.0], [0.5, 0.5]])
    other = np.array([[0.0, 1.0], [0.5, 0.5]])
    np.testing.assert_array_equal(total_variation(one, other), [1, 0])
    np.testing.assert_array_equal(jensen_shannon_of_shares(one, other), [1, 0])
    np.testing.assert_array_equal(kl_of_shares(one, other), [np.inf, 0])


def test_the_index_by_chance() -> None:
    rng = np.random.default_rng(0)
    shares = np.full(10, 0.1)
    reference, windows = rng.multinomial(5000, shares), rng.multinomial(500, shares, 2000)
    found = [float(psi_of_shares(*smoothed_shares(reference, window))) for window in windows]
    bound = psi_by_chance(10, 5000, 500)
    assert 0.02 < (np.array(found) > bound).mean() < 0.08
    assert psi_by_chance(1, 5000, 500) == 0
    assert np.isnan(psi_by_chance(10, 5000, 0))
    assert np.isnan(psi_by_chance(10, 0, 500))
