"""Shares of classes: the tests hold their level and the estimate undoes confusions."""

from __future__ import annotations

from dataclasses import replace
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitoring.analysis.class_shift import class_shares, class_test, estimate_shares, scan_p_value
from monitoring.analysis.config import DriftConfig
from monitoring.drift_report import Note
from tests.monitoring.analysis import world

CONFIG = DriftConfig(bootstraps=50)
PROPERTIES = settings(deadline=None, max_examples=40, derandomize=True)


def _confusion(shares: NDArray[np.float64], right: float, images: int) -> NDArray[np.int64]:
    """Counts [predicted, true] of a model that is right so often and else names any class."""
    classes = len(shares)
    said = np.full((classes, classes), (1 - right) / (classes - 1))
    np.fill_diagonal(said, right)
    return np.asarray((said * shares * images).round().astype(np.int64))


@PROPERTIES
@given(
    weights=st.lists(st.integers(1, 9), min_size=3, max_size=6),
    right=st.floats(0.6, 1.0),
    seed=st.integers(0, 1000),
)
def test_the_estimate_undoes_the_confusions(weights: list[int], right: float, seed: int) -> None:
    classes = len(weights)
    confusion = _confusion(np.full(classes, 1 / classes), right, 60_000)
    truth = np.random.default_rng(seed).permutation(np.array(weights) / sum(weights))
    said = confusion / confusion.sum(axis=0)
    now = (said @ truth * 1_000_000).round().astype(np.int64)
    estimated, low, high = estimate_shares(confusion, now, CONFIG)
    assert np.abs(estimated - truth).max() < 1e-3
    assert estimated.sum() == pytest.approx(1)
    assert (low <= estimated).all()
    assert (estimated <= high).all()
    assert (low >= 0).all()
    assert (high <= 1).all()


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    usual, truth = np.full(4, 0.25), np.array([0.4, 0.3, 0.2, 0.1])
    said = _confusion(usual, 0.9, 10**6) / (usual * 10**6)
    held = []
    for _ in range(60):
        cells = random.multinomial(2000, (said * usual).ravel()).reshape(4, 4)
        now = random.multinomial(300, said @ truth)
        _, low, high = estimate_shares(cells, now, CONFIG)
        held += ((low <= truth) & (truth <= high)).tolist()
    assert 0.9 <= np.mean(held) <= 0.99


def test_a_class_the_reference_never_had_gets_no_share() -> None:
    confusion = np.diag([50, 50, 0])
    estimated, _, _ = estimate_shares(confusion, np.array([10, 10, 20]), CONFIG)
    assert estimated.tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_predictions_that_the_reference_never_made_tell_no_share() -> None:
    reference = replace(world.reference(), confusion=np.diag([50, 50, 50, 0]))
    window = world.clean(40, 0, predicted=np.full(40, 3))
    shares, note = class_shares(reference, window, CONFIG)
    assert note is Note.OK
    assert [share.estimated for share in shares] == [None] * 4
    assert shares[3].predicted == 1.0
    assert class_test(reference, window, CONFIG).rejected


def test_the_scan_is_exact_for_two_classes() -> None:
    now, before = np.array([9, 3]), np.array([20, 40])
    pooled = now + before

    def chance(count: int) -> float:
        ways = comb(int(pooled[0]), count) * comb(int(pooled[1]), 12 - count)
        return ways / comb(int(pooled.sum()), 12)

    usual = pooled / pooled.sum()

    def ratio(count: int) -> float:
        counts = np.array([count, 12 - count])
        return float(
            sum(
                weight * (factor**counts / (1 + usual * (factor - 1)) ** 12).sum()
                for factor, weight in ((2.0, 1.0), (3.0, 1.0), (4.0, 1.0), (1 / 3, 0.03))
            )
        )

    exact = sum(chance(count) for count in range(13) if ratio(count) >= ratio(9) * (1 - 1e-9))
    found = scan_p_value(now, before, DriftConfig(false_alarm_rate=0.002))
    assert found == pytest.approx(exact, rel=0.08)


def test_the_scan_holds_its_level_whatever_the_reference_s_size() -> None:
    random = np.random.default_rng(1)
    shares = random.dirichlet(np.ones(6))
    config = DriftConfig(false_alarm_rate=0.2)
    p_values = [
        scan_p_value(random.multinomial(40, shares), random.multinomial(60, shares), config)
        for _ in range(300)
    ]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.085
    assert np.mean(np.array(p_values) <= 0.5) <= 0.6


def test_one_class_tripled_is_found_among_ten() -> None:
    random = np.random.default_rng(2)
    before = np.full(10, 360)
    shares = np.full(10, 0.7 / 9)
    shares[4] = 0.3
    p_values = [scan_p_value(random.multinomial(100, shares), before, CONFIG) for _ in range(100)]
    assert np.mean(np.array(p_values) <= 0.012) >= 0.93


def test_a_window_without_predictions_is_not_tested() -> None:
    window = world.clean(40, 0, predicted=np.full(40, -1))
    assert class_test(world.reference(), window, CONFIG).note is Note.ABSENT
    few = world.clean(40, 0)
    few.predicted[5:] = -1
    assert class_test(world.reference(), few, CONFIG).note is Note.TOO_FEW
