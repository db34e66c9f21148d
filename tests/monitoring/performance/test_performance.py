from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_score, recall_score

from monitoring.label_join import NOT_LABELLED, Joined, join_labels
from monitoring.performance import performance
from monitoring.window import NOT_PREDICTED, Window
from tests.monitoring.performance.windows import (
    CLASSES,
    NOW_NS,
    SECOND_NS,
    a_predicted_window,
    a_reference,
    a_window,
    labels_of,
)


def with_truth(window: Window, truth: NDArray[np.int64], **counts: Any) -> Joined:
    joined = join_labels(window, labels_of())
    delay = np.where(truth == NOT_LABELLED, np.nan, 60.0)
    return replace(joined, truth=truth, delay_s=delay, counts=replace(joined.counts, **counts))


def test_what_labels_say_is_what_sklearn_says() -> None:
    window, labels = a_predicted_window(500, 1, version=np.repeat(["1.0", "1.1"], 250))
    truth = np.where(np.arange(500) % 3 == 0, NOT_LABELLED, labels)
    found = performance(window, joined=with_truth(window, truth)).realised
    assert found is not None
    known = truth != NOT_LABELLED
    predicted, true = window.predicted[known], truth[known]
    assert found.accuracy.value == accuracy_score(true, predicted)
    assert found.accuracy.trials == known.sum()
    recall = recall_score(true, predicted, average=None)
    precision = precision_score(true, predicted, average=None)
    assert [one.recall.value for one in found.by_class] == pytest.approx(recall.tolist())
    assert [one.precision.value for one in found.by_class] == pytest.approx(precision.tolist())
    assert found.macro_recall == pytest.approx(recall.mean())
    assert np.array_equal(found.confusion, confusion_matrix(true, predicted).T)
    old = known & (np.arange(500) < 250)
    assert found.by_version["1.0"].trials == old.sum()
    assert found.by_version["1.0"].value == accuracy_score(truth[old], window.predicted[old])
    assert found.median_delay_s == 60.0


def test_labels_that_hint_at_a_mistake_are_told() -> None:
    window = a_window(2)
    usual = with_truth(window, np.array([0, 1]), elsewhere=7)
    assert not any("labels" in note for note in performance(window, joined=usual).notes)
    joined = with_truth(window, np.array([0, 1]), early=3, unknown_class=4, unreadable_files=5)
    notes = performance(window, joined=joined).notes
    assert "3 labels are older than their request: a clock is wrong" in notes
    assert "4 labels are no class of the model" in notes
    assert "5 files of labels cannot be read: what they hold is not counted" in notes


def test_classes_without_cases_have_no_value_and_spoil_no_mean() -> None:
    window = a_window(4)
    found = performance(window, joined=with_truth(window, np.array([0, 0, 1, 1]))).realised
    assert found is not None
    owl = found.by_class[2]
    assert (owl.recall.value, owl.precision.value) == (None, None)
    assert found.macro_recall == 0.5


def test_calibrated_confidence_tells_the_accuracy_within_its_interval() -> None:
    """Over windows like the reference the 95 % interval holds the accuracy it estimates."""
    reference = a_reference(1000)
    hits = 0
    for seed in range(6):
        window, labels = a_predicted_window(4000, seed + 1)
        found = performance(
            window, reference=reference, joined=with_truth(window, labels), periods=1
        ).estimated
        assert found is not None
        assert found.error is not None
        assert abs(found.error.calibrated) < 0.03
        assert abs(found.error.atc) < 0.04
        realised = float((window.predicted == labels).mean())
        hits += found.low - 0.01 <= realised <= found.high + 0.01
    assert hits >= 5


def test_the_estimate_follows_an_easier_window() -> None:
    window, _ = a_predicted_window(3000, 1)
    sure = window.take(window.probabilities.max(axis=1) > 0.9)
    all_of_it = performance(window, reference=a_reference(1000)).estimated
    easier = performance(sure, reference=a_reference(1000)).estimated
    assert all_of_it is not None
    assert easier is not None
    assert easier.accuracy > all_of_it.accuracy + 0.1
    assert easier.atc > all_of_it.atc + 0.1


def test_what_the_estimate_cannot_see_is_shown_as_its_error() -> None:
    window, labels = a_predicted_window(2000, 3, overconfident=0.3)
    joined = with_truth(window, labels)
    found = performance(window, reference=a_reference(1000), joined=joined).estimated
    assert found is not None
    assert found.error is not None
    assert found.error.calibrated > 0.1
    assert not found.error.within_interval


def test_confidence_that_is_no_number_is_left_out_and_told() -> None:
    window, _ = a_predicted_window(300, 1)
    window.probabilities[:50] = np.nan
    window.probabilities[50] = 7.0
    report = performance(window, reference=a_reference(500))
    assert report.estimated is not None
    assert (report.estimated.items, report.estimated.left_out) == (249, 51)
    assert "51 items without a finite confidence are not estimated" in report.notes


def test_periods_cover_the_window_and_those_without_items_are_empty() -> None:
    times = NOW_NS + SECOND_NS * np.array([0, 1, 2, 99])
    window = a_window(4, timestamp_ns=times)
    joined = with_truth(window, np.array([0, 1, NOT_LABELLED, 0]))
    report = performance(window, reference=a_reference(500), joined=joined, periods=4)
    assert [period.items for period in report.periods] == [3, 0, 0, 1]
    assert [period.accuracy.trials for period in report.periods] == [2, 0, 0, 1]
    assert [period.accuracy.value for period in report.periods] == [0.5, None, None, 1.0]
    assert [period.estimated is None for period in report.periods] == [False, True, True, False]
    assert report.periods[0].start_ns == times[0]
    assert report.periods[-1].end_ns == times[-1] + 1


def test_items_of_one_moment_are_one_period() -> None:
    window = a_window(3, timestamp_ns=np.full(3, NOW_NS))
    assert [period.items for period in performance(window).periods] == [3]


def test_items_without_a_prediction_are_in_no_accuracy() -> None:
    window = a_window(3, predicted=np.array([0, NOT_PREDICTED, 0]))
    report = performance(window, joined=with_truth(window, np.array([0, 0, 1])))
    assert (report.items, report.predicted) == (3, 2)
    assert report.realised is not None
    assert report.realised.accuracy.trials == 2


@pytest.mark.parametrize("count", [0, 5])
def test_what_cannot_be_known_is_none_and_the_reason_is_told(count: int) -> None:
    report = performance(a_window(count))
    assert (report.realised, report.estimated, report.labels) == (None, None, None)
    assert ("no items in the window" in report.notes) == (count == 0)
    assert "accuracy is not known: no table of labels" in report.notes
    assert "accuracy is not estimated: the artifact has no reference" in report.notes


def test_labels_that_belong_nowhere_are_no_accuracy_of_zero() -> None:
    window = a_window(5)
    report = performance(window, joined=join_labels(window, labels_of(("else", "cat"))))
    assert report.realised is None
    assert report.labels is not None
    assert report.labels.elsewhere == 1
    assert "accuracy is not known: no label belongs to an item" in report.notes


def test_a_reference_that_is_too_small_estimates_nothing() -> None:
    report = performance(a_window(5), reference=a_reference(50))
    assert report.estimated is None
    assert any("fewer than 100" in note for note in report.notes)


def test_what_does_not_belong_together_is_refused() -> None:
    window = a_window(5)
    with pytest.raises(ValueError, match="3 truths for 5 items"):
        performance(window, joined=with_truth(a_window(3), np.zeros(3, dtype=np.int64)))
    with pytest.raises(ValueError, match="other classes"):
        performance(window, reference=replace(a_reference(200), classes=CLASSES[::-1]))


def test_the_report_can_be_written_as_json() -> None:
    window, labels = a_predicted_window(200, 1)
    report = performance(window, reference=a_reference(300), joined=with_truth(window, labels))
    assert orjson.loads(orjson.dumps(asdict(report)))["realised"]["accuracy"]["trials"] == 200


def test_items_less_sure_than_the_reference_knows_are_told() -> None:
    unsure = np.full((100, 3), 1 / 3, dtype=np.float32)
    window = a_window(100, probabilities=unsure)
    report = performance(window, reference=a_reference(500))
    assert report.estimated is not None
    assert report.estimated.unsupported == 1.0
    assert any(note.startswith("100.0% of the items are less sure") for note in report.notes)
