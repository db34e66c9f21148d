"""Maximum mean discrepancy."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from monitoring.mmd import mmd


def test_the_statistic_is_the_unbiased_one() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(300, 4)), rng.normal(0.5, size=(40, 4))
    found = mmd(one, other, permutations=1)
    gamma = 1 / (2 * found.bandwidth**2)
    within, beside = rbf_kernel(one, one, gamma), rbf_kernel(other, other, gamma)
    expected = (
        (within.sum() - 300) / (300 * 299)
        + (beside.sum() - 40) / (40 * 39)
        - 2 * rbf_kernel(one, other, gamma).mean()
    )
    assert found.statistic == pytest.approx(expected, rel=1e-9)
    assert (found.reference_rows, found.rows) == (300, 40)


def test_a_shift_is_seen_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    false, true = 0, 0
    for seed in range(100):
        reference = rng.normal(size=(100, 8)).astype(np.float32)
        quiet, moved = rng.normal(size=(40, 8)), rng.normal(0.6, size=(40, 8))
        false += mmd(reference, quiet, seed=seed, permutations=99).p_value <= 0.05
        true += mmd(reference, moved, seed=seed, permutations=99).p_value <= 0.05
    assert false <= 11  # 5 expected; more happens with probability 0.004
    assert true >= 95


def test_p_values_are_never_zero_and_seeds_repeat() -> None:
    one, other = np.zeros((20, 2)), np.ones((20, 2))
    first = mmd(one, other, permutations=50)
    assert first.p_value == pytest.approx(1 / 51, rel=0.5)
    assert first == mmd(one, other, permutations=50)


def test_rows_that_say_nothing() -> None:
    rows = np.ones((10, 3))
    same = mmd(rows, rows)
    assert (same.statistic, same.p_value) == (0, 1)
    broken = rows.copy()
    broken[1:, 0] = np.nan
    few = mmd(rows, broken)
    assert np.isnan([few.statistic, few.p_value, few.bandwidth]).all()
    assert (few.reference_rows, few.rows) == (10, 1)
    assert np.isnan(mmd(rows, np.empty((0, 3))).p_value)
    with pytest.raises(ValueError, match="expected M E and N E"):
        mmd(rows, np.ones((10, 2)))


def test_place_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(50, 3)), rng.normal(0.3, size=(50, 3))
    near, far = mmd(one, other), mmd(one + 1e6, other + 1e6)
    assert far.statistic == pytest.approx(near.statistic, abs=1e-6)
    assert far.p_value == near.p_value


def test_the_square_of_the_rows_is_never_in_memory() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(3000, 8)), rng.normal(size=(2000, 8))
    tracemalloc.start()
    found = mmd(one, other, permutations=20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.reference_rows, found.rows) == (2000, 2000)
    assert peak < 4000**2 * 8 / 2
