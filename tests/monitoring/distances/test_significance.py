"""Tests of counts and of many p-values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from monitoring.significance import benjamini_hochberg, chi_square

checked = settings(deadline=None, max_examples=100, derandomize=True)
counts = st.lists(st.integers(0, 200), min_size=6, max_size=6).map(np.array)


def test_frequent_classes_are_pearsons() -> None:
    one, other = np.array([100, 200, 300]), np.array([30, 40, 50])
    expected = stats.chi2_contingency([one, other], correction=False)
    assert chi_square(one, other) == pytest.approx((expected.statistic, expected.pvalue))


def test_rare_classes_are_counted_as_one() -> None:
    one, other = np.array([300, 2, 0, 500, 9, 30]), np.array([30, 1, 0, 60, 0, 5])
    merged = chi_square(np.array([41, 300, 500]), np.array([6, 30, 60]))
    assert chi_square(one, other) == pytest.approx(merged)


def test_every_rare_class_is_counted_in() -> None:
    one, other = np.array([200, 200, 200, 200, 5000]), np.array([0, 0, 5, 1, 52])
    merged = stats.chi2_contingency([[800, 5000], [6, 52]], correction=False)
    assert chi_square(one, other) == pytest.approx((merged.statistic, merged.pvalue))


def test_two_rare_classes_are_fishers() -> None:
    found = chi_square(np.array([10, 2]), np.array([1, 4]))
    assert found.p_value == pytest.approx(stats.fisher_exact([[10, 2], [1, 4]]).pvalue)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [([0, 0], [1, 2], (np.nan, np.nan)), ([1, 2], [0, 0], (np.nan, np.nan)),
     ([5, 0], [7, 0], (0, 1)), ([], [], (np.nan, np.nan))],
)  # fmt: skip
def test_what_says_nothing_is_named(
    one: list[int], other: list[int], expected: tuple[float, float]
) -> None:
    assert chi_square(np.array(one), np.array(other)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(("one", "other"), [([1, 2], [1, 2, 3]), ([1, -2], [1, 2])])
def test_what_are_no_counts_is_refused(one: list[int], other: list[int]) -> None:
    with pytest.raises(ValueError, match=r"counts|shape"):
        chi_square(np.array(one), np.array(other))


@checked
@given(counts, counts)
def test_any_counts_have_a_p_value_and_order_does_not_matter(
    one: NDArray[Any], other: NDArray[Any]
) -> None:
    found = chi_square(one, other)
    if one.sum() and other.sum():
        assert 0 <= found.p_value <= 1
        assert found.statistic >= 0
    assert chi_square(other, one) == pytest.approx(found, nan_ok=True)
    assert chi_square(one, other) == pytest.approx(found, rel=0, abs=0, nan_ok=True)


def test_false_alarms_with_rare_classes() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.15, 0.03, 0.015, 0.005])
    draws = rng.multinomial(3000, shares, 1000), rng.multinomial(60, shares, 1000)
    alarms = np.mean([chi_square(*pair).p_value < 0.05 for pair in zip(*draws, strict=True)])
    assert 0.02 < alarms < 0.07


@checked
@given(st.lists(st.one_of(st.floats(0, 1), st.just(np.nan)), max_size=30))
def test_adjusted_p_values(given_p: list[float]) -> None:
    p_values = np.array(given_p)
    adjusted = benjamini_hochberg(p_values)
    tested = ~np.isnan(p_values)
    np.testing.assert_array_equal(np.isnan(adjusted), ~tested)
    assert (adjusted[tested] >= p_values[tested] - 1e-12).all()
    for q in (0.05, 0.2):  # the step-up procedure as it is written down
        ordered = np.sort(p_values[tested])
        passing = np.flatnonzero(
            ordered <= q * np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
        )
        count = passing[-1] + 1 if len(passing) else 0
        close = np.isclose(adjusted[tested], q, rtol=1e-9).any()
        assert close or (adjusted[tested] <= q).sum() == count


def test_the_false_discovery_rate_is_kept() -> None:
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(300):
        p_values = rng.random(50)
        p_values[:10] = stats.norm.sf(rng.normal(3, size=10))
        found = benjamini_hochberg(p_values) <= 0.1
        shares.append(found[10:].sum() / max(found.sum(), 1))
    assert np.mean(shares) < 0.1
