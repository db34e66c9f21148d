"""Where a change began, who has drifted, matched references, screening's rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import fisher_exact

from monitoring.analysis.change import change_moment
from monitoring.analysis.config import DriftConfig
from monitoring.analysis.groups import groups
from monitoring.analysis.matched import matched, same_within_classes
from monitoring.analysis.screening_rate import screening_test
from monitoring.drift_report import Note
from monitoring.reference import Reference
from tests.monitoring.analysis import world

CONFIG = DriftConfig()


@pytest.fixture(scope="module")
def reference() -> Reference:
    return world.reference()


@pytest.mark.parametrize("order", ["in order", "shuffled", "many"])
def test_the_moment_of_a_change_is_found(order: str) -> None:
    random = np.random.default_rng(0)
    count = 9000 if order == "many" else 300
    window = world.clean(300, 0).take(random.integers(0, 300, count))
    features = random.normal(size=window.features.shape)
    features[count * 2 // 3 :] += 1.5
    window = replace(
        window, features=features, timestamp_ns=np.arange(count, dtype=np.int64) * world.SECOND
    )
    if order == "shuffled":
        window = window.take(random.permutation(count))
    change = change_moment(window, "mean_0", CONFIG)
    assert change is not None
    assert abs(change.rows_before - count * 2 // 3) <= count // 30
    assert change.timestamp_ns == change.rows_before * world.SECOND
    assert change.p_value <= 0.01


def test_without_a_change_there_is_no_sure_moment() -> None:
    random = np.random.default_rng(1)
    p_values = []
    for _ in range(40):
        window = world.clean(60, 0)
        window = replace(window, features=random.normal(size=window.features.shape))
        change = change_moment(window, "mean_0", CONFIG)
        assert change is not None
        p_values.append(change.p_value)
    assert np.mean(np.array(p_values) <= 0.1) <= 0.25
    still = replace(window, features=np.zeros_like(window.features))
    change = change_moment(still, "mean_0", CONFIG)
    assert change is not None
    assert change.p_value == 1.0


def test_too_few_values_have_no_moment() -> None:
    window = world.clean(40, 0)
    assert change_moment(window.take(np.arange(20)), "mean_0", CONFIG) is None


def test_a_matched_reference_has_the_window_s_classes(reference: Reference) -> None:
    random = np.random.default_rng(2)
    shown = world.images(world.labels(400, random, [0.5, 0.3, 0.2, 0.0]), random)
    window = world.window(shown)
    alike = matched(reference, window, CONFIG)
    assert alike is not None
    kept = np.bincount(alike.predicted, minlength=4) / alike.images
    there = np.bincount(window.predicted, minlength=4) / len(window)
    assert np.abs(kept - there).max() < 0.01
    assert len(np.unique(alike.features[:, 0])) > 0.9 * alike.images  # no row was taken twice
    assert "confidence" not in alike.feature_names
    assert same_within_classes(reference, window, CONFIG) is True


def test_darker_images_differ_within_their_classes(reference: Reference) -> None:
    random = np.random.default_rng(3)
    truth = world.labels(200, random, [0.5, 0.3, 0.2, 0.0])
    window = world.window(world.images(truth, random, brightness=0.7))
    assert same_within_classes(reference, window, CONFIG) is False


def test_without_rows_enough_nothing_is_matched(reference: Reference) -> None:
    window = world.clean(100, 0, predicted=np.full(100, -1))
    assert matched(reference, window, CONFIG) is None
    rows = np.arange(60)
    small = replace(
        reference,
        probabilities=reference.probabilities[rows],
        features=reference.features[rows],
        embedding=reference.embedding[rows],
        labels=reference.labels[rows],
        score=reference.score[rows],
    )
    assert same_within_classes(small, world.clean(100, 0), CONFIG) is None


def test_only_groups_with_items_enough_are_looked_at(reference: Reference) -> None:
    client = np.array(["a"] * 60 + ["b"] * 35 + ["c"] * 5)
    found = groups(reference, world.clean(100, 0, client=client), CONFIG)
    assert [(group.column, group.value, group.rows) for group in found] == [
        ("client", "a", 60),
        ("client", "b", 35),
    ]
    assert not any(group.drifted or group.rest_drifted for group in found)


def test_the_rate_of_screening_is_compared_with_the_calibration(reference: Reference) -> None:
    verdict = np.array(["suspicious"] * 7 + ["failed"] + ["clean"] * 90 + [""] * 2)
    window = world.clean(100, 0, verdict=verdict)
    calibration = {"exceedances": 25, "images_b": 3600}
    result = screening_test(reference, window, CONFIG, calibration)
    exact = fisher_exact([[8, 90], [25, 3575]], alternative="greater").pvalue
    assert result.p_value == pytest.approx(exact)
    assert result.rejected
    assert result.rows == 98


def test_without_a_calibration_the_reference_s_scores_count(reference: Reference) -> None:
    scores = np.sort(reference.score)
    window = world.clean(100, 0)
    score = np.full(100, scores[-13])  # twelve of the reference lie above
    score[:9] = scores[-1] + 1
    verdict = np.where(np.arange(100) < 9, "suspicious", "clean")
    window = replace(window, score=score, verdict=verdict)
    result = screening_test(reference, window, CONFIG, None)
    exact = fisher_exact([[9, 91], [12, 1188]], alternative="greater").pvalue
    assert result.p_value == pytest.approx(exact)


@pytest.mark.parametrize("calibration", [{}, {"exceedances": "25", "images_b": 0}])
def test_a_calibration_that_says_nothing_is_none(
    reference: Reference, calibration: dict[str, object]
) -> None:
    window = world.clean(100, 0)
    with_it = screening_test(reference, window, CONFIG, calibration)
    assert with_it == screening_test(reference, window, CONFIG, None)
    scoreless = replace(reference, score=np.full_like(reference.score, np.nan))
    assert screening_test(scoreless, window, CONFIG, calibration).note is Note.ABSENT
