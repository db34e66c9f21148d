"""Figures of detection agree with brute force and with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from robustness.detection_metrics import (
    density,
    exceedance_rate,
    robust_accuracy_with_detection,
    roc_points,
    tpr_at_fpr,
)
from torchkeep.errors import SettingsError

few = st.lists(st.integers(-5, 5), min_size=1, max_size=40).map(lambda x: np.array(x, float))


@settings(deadline=None, max_examples=200, derandomize=True)
@given(clean=few, attacked=few, fpr=st.floats(0, 1))
def test_tpr_at_fpr_is_the_best_threshold_clean_scores_allow(
    clean: NDArray[np.float64], attacked: NDArray[np.float64], fpr: float
) -> None:
    cuts = [-np.inf, *clean]
    allowed = [cut for cut in cuts if (clean > cut).sum() <= int(fpr * len(clean))]
    assert tpr_at_fpr(clean, attacked, fpr) == np.mean(attacked > min(allowed))


@settings(deadline=None, max_examples=200, derandomize=True)
@given(clean=few, attacked=few)
def test_the_curve_is_that_of_scikit_learn(
    clean: NDArray[np.float64], attacked: NDArray[np.float64]
) -> None:
    truth = np.repeat([0, 1], [len(clean), len(attacked)])
    scores = np.concatenate([clean, attacked])
    x, y, _ = roc_curve(truth, scores, drop_intermediate=False)
    points = np.stack(roc_points(clean, attacked), 1)
    assert np.allclose(points, np.stack([x, y], 1))
    area = np.trapezoid(points[:, 1], points[:, 0])
    assert area == pytest.approx(roc_auc_score(truth, scores))


def test_a_thinned_curve_keeps_its_ends_and_rises() -> None:
    rng = np.random.default_rng(0)
    points = np.stack(roc_points(rng.normal(size=900), rng.normal(1, 1, 900), most=50), 1)
    assert len(points) == 50
    assert (points[[0, -1]] == [[0, 0], [1, 1]]).all()
    assert (np.diff(points, axis=0) >= 0).all()


@settings(deadline=None, max_examples=100, derandomize=True)
@given(scores=few)
def test_density_sums_to_the_share_inside(scores: NDArray[np.float64]) -> None:
    edges = np.array([-2.5, -1.0, 0.5, 2.5])
    total = (density(scores, edges) * np.diff(edges)).sum()
    assert total == pytest.approx(np.mean(np.abs(scores) < 2.5))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(rows=st.lists(st.tuples(*[st.booleans()] * 4), min_size=1, max_size=30))
def test_an_attacker_needs_one_win_and_a_rejected_clean_item_is_an_error(
    rows: list[tuple[bool, bool, bool, bool]],
) -> None:
    right, accepted, one, two = np.array(rows).T
    wanted = sum(r and a and not (x or y) for r, a, x, y in rows) / len(rows)
    assert robust_accuracy_with_detection(right, accepted, [one, two]) == pytest.approx(wanted)


def test_what_is_not_a_number_is_flagged() -> None:
    clean, attacked = np.array([0.0, 1.0]), np.array([np.nan, 0.5])
    assert tpr_at_fpr(clean, attacked, 0) == 0.5
    assert exceedance_rate(attacked, 0.7) == 0.5
    assert tpr_at_fpr(np.array([0.0, np.nan]), np.array([9.0]), 0) == 0
    assert [side[1] for side in roc_points(clean, attacked)] == [0.0, 0.5]


def test_nothing_to_say_is_nan_or_no_point() -> None:
    none, some = np.zeros(0), np.ones(1)
    assert np.isnan([tpr_at_fpr(none, some, 0.1), tpr_at_fpr(some, none, 0.1)]).all()
    assert [len(side) for side in roc_points(none, some)] == [0, 0]
    assert np.isnan(density(none, np.array([0.0, 1.0]))).all()
    assert np.isnan(robust_accuracy_with_detection(none > 0, none > 0, []))


@pytest.mark.parametrize("fpr", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_share_is_refused(fpr: float) -> None:
    with pytest.raises(SettingsError):
        tpr_at_fpr(np.ones(1), np.ones(1), fpr)


def test_curves_and_bins_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingsError):
        roc_points(np.ones(1), np.ones(1), most=1)
    with pytest.raises(SettingsError):
        density(np.ones(1), np.array([1.0, 1.0]))
