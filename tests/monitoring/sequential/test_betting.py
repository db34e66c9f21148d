"""What the rate of false alarms rests on: uniform p-values, fair bets, a fair statistic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from monitoring.betting.alarm import SequentialConfig
from monitoring.betting.bag import Bag, exchanged
from monitoring.betting.bets import class_bets, score_bets, weights, witnesses
from monitoring.betting.e_detector import EDetector
from monitoring.betting.follower import Follower, uniforms
from monitoring.conformal import conformal_p_values, divided
from monitoring.nearness import mean_distance

values = st.lists(st.integers(-3, 3), min_size=1, max_size=30)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(calibration=values, score=st.integers(-4, 4), tie=st.floats(0, 1))
def test_a_p_value_is_the_share_that_lies_as_far_with_ties_broken(
    calibration: list[int], score: int, tie: float
) -> None:
    known = np.sort(np.array(calibration, float))
    p = conformal_p_values(known, np.array([score, np.nan]), np.array([tie, tie]))
    above = sum(other > score for other in calibration)
    equal = sum(other == score for other in calibration) + 1
    assert p[0] == pytest.approx((above + tie * equal) / (len(calibration) + 1))
    assert np.isnan(p[1])
    assert conformal_p_values(known, np.array([score])) >= p[0]


@settings(deadline=None, max_examples=50, derandomize=True)
@given(calibration=values)
def test_p_values_are_exactly_uniform_over_which_of_the_scores_is_the_new_one(
    calibration: list[int],
) -> None:
    scores = np.array(calibration, float)
    everyone = [
        conformal_p_values(np.sort(np.delete(scores, at)), np.array([score]), np.array([tie]))[0]
        for at, score in enumerate(scores)
        for tie in (np.arange(50) + 0.5) / 50
    ]
    assert kstest(everyone, "uniform").statistic <= 0.02 + 1e-9


@settings(deadline=None, max_examples=100, derandomize=True)
@given(calibration=values, predicted=st.integers(0, 3), tie=st.floats(0.01, 0.99))
def test_class_p_values_are_those_of_the_indicator(
    calibration: list[int], predicted: int, tie: float
) -> None:
    classes = np.abs(np.array(calibration))
    bag = Bag(np.zeros((len(classes), 1), np.float32), classes, classes=4, memory=0)
    found = bag.class_p_values(np.array([predicted]), np.array([tie]))[0]
    for number in range(4):
        known = np.sort((classes == number).astype(float))
        score = np.array([float(predicted == number)])
        expected = conformal_p_values(known, score, np.array([tie]))[0]
        assert found[number] == pytest.approx(expected)


def test_bets_pay_one_on_average_if_p_is_uniform() -> None:
    p = (np.arange(1_000_000) + 0.5) / 1_000_000
    paid = score_bets(p[:, None]).mean(axis=0)
    assert np.all(paid <= 1 + 1e-9)
    assert paid == pytest.approx(np.ones(len(paid)), abs=0.02)  # the tail beyond 1e-6 is missing
    shares = np.array([0.1, 0.7])
    assert class_bets(np.column_stack([p, p]), shares).mean(axis=0) == pytest.approx(np.ones(4))


@pytest.mark.parametrize(("scores", "classes"), [(1, 1), (7, 10), (2, 1000)])
def test_weights_are_together_one_and_every_bet_has_a_witness(scores: int, classes: int) -> None:
    names = [f"s{number}" for number in range(scores)]
    found = weights(scores, classes)
    assert found.sum() == pytest.approx(1)
    assert len(found) == len(witnesses(names, [str(number) for number in range(classes)]))
    p = np.full((3, scores), 0.5)
    of_classes = class_bets(np.full((3, classes), 0.5), np.full(classes, 1 / classes))
    assert score_bets(p).shape[1] + of_classes.shape[1] == len(found)


def test_the_bet_that_wins_is_the_one_its_witness_names() -> None:
    names = witnesses(["a", "b"], ["x", "y"])
    small = score_bets(np.array([[0.5, 1e-6]]))[0]
    assert names[int(small.argmax())] == ("b", True)
    large = score_bets(np.array([[1 - 1e-6, 0.5]]))[0]
    assert names[int(large[: len(small) // 2].argmax())][0] == "a"
    of_classes = class_bets(np.array([[0.9, 0.05]]), np.array([0.5, 0.5]))[0]
    assert names[len(small) + int(of_classes.argmax())] in [("class y", True), ("class x", False)]


@settings(deadline=None, max_examples=50, derandomize=True)
@given(paid=st.lists(st.floats(0.01, 3), min_size=1, max_size=40))
def test_the_statistic_adds_up_the_winnings_since_each_item(paid: list[float]) -> None:
    detector = EDetector(np.ones(1), 1e300)
    detector.take(np.array(paid)[:, None], 1, np.arange(len(paid)))
    winnings = [float(np.prod(paid[start:])) for start in range(len(paid))]
    assert detector.statistic == pytest.approx(sum(winnings))
    best = max(winnings)
    assert winnings[int(detector.since[0]) - 1] == pytest.approx(best)


def test_the_bag_forgets_the_oldest_of_the_stream_and_never_the_reference() -> None:
    bag = Bag(np.zeros((5, 1), np.float32), np.zeros(5, np.int64), classes=2, memory=3)
    for value in range(1, 6):
        bag.add(np.full((1, 1), value, np.float32), np.array([1]))
    assert bag.recent.tolist() == [[3], [4], [5]]
    assert bag.class_shares().tolist() == [5.5 / 9, 3.5 / 9]
    assert bag.p_values(np.array([[3.5]], np.float32), np.array([[0.5]]))[0, 0] == 2.5 / 9


@settings(deadline=None, max_examples=100, derandomize=True)
@given(kept=values, old=values, new=values)
def test_sorted_numbers_stay_sorted_when_some_are_exchanged(
    kept: list[int], old: list[int], new: list[int]
) -> None:
    arrays = [np.array(part, np.float32) for part in (sorted(kept + old), old, new)]
    assert exchanged(*arrays).tolist() == sorted(kept + new)


def test_ties_are_uniform_and_go_on_in_the_middle() -> None:
    whole = uniforms(5, 0, (2000, 3))
    assert kstest(whole.ravel(), "uniform").pvalue > 0.01
    assert np.array_equal(whole[700:], uniforms(5, 700, (1300, 3)))
    assert not np.array_equal(whole, uniforms(6, 0, (2000, 3)))
    assert abs(np.corrcoef(whole.T)[0, 1]) < 0.05


def test_without_a_change_alarms_are_as_seldom_as_designed() -> None:
    design, alarms, length, streams = 200, 0, 1500, 30
    for seed in range(streams):
        random = np.random.default_rng([seed, 7])
        config = SequentialConfig(average_run_length=design, block=64, seed=seed)
        classes = random.integers(0, 3, 300 + length)
        # the second column is the first in whole steps: ties, and a score that depends on another
        first = random.normal(size=300 + length)
        scores = np.column_stack([first, first.round()]).astype(np.float32)
        follower = Follower(scores[:300], classes[:300], classes=3, config=config)
        alarms += len(follower.take(scores[300:], classes[300:], np.arange(length)))
    assert 0 < alarms <= streams * length / design


def test_rows_of_a_reference_are_divided_once_each() -> None:
    fit, rest = divided(5000, 1)
    assert (len(fit), len(rest)) == (1024, 3976)
    assert sorted([*fit, *rest]) == list(range(5000))
    assert [len(part) for part in divided(3, 1)] == [1, 2]


def test_distances_do_not_depend_on_who_is_asked_together() -> None:
    random = np.random.default_rng(0)
    known, rows = random.normal(size=(50, 7)), random.normal(size=(1100, 7))
    rows[3, 2] = np.nan
    together = mean_distance(rows, known, 5)
    alone = [mean_distance(row[None], known, 5)[0] for row in rows]
    assert np.array_equal(together, alone, equal_nan=True)
    assert np.isnan(together[3])
    nearest = np.sort(np.linalg.norm(known - rows[0], axis=1))[:5]
    assert together[0] == pytest.approx(nearest.mean())
    assert mean_distance(rows[:1], known[:2], 5) == pytest.approx(
        np.linalg.norm(known[:2] - rows[0], axis=1).mean()
    )
