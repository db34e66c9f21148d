"""Accuracy where labels came, and what changed between two trainings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from monitoring.analysis.concept import concept_drift, training_change
from monitoring.analysis.config import DriftConfig
from monitoring.drift_report import Note
from monitoring.reference import Reference
from tests.monitoring.analysis import world

CONFIG = DriftConfig()


def _reference(confusion: Any, classes: int) -> Reference:
    names = tuple(str(number) for number in range(classes))
    return replace(world.reference(), classes=names, confusion=np.array(confusion))


def _p_value(confusion: Any, predicted: Any, truth: Any) -> float | None:
    reference = _reference(confusion, len(confusion))
    window = replace(
        world.clean(len(predicted), 0, predicted=np.array(predicted)), classes=reference.classes
    )
    return concept_drift(reference, window, np.array(truth), CONFIG)[0].p_value


def test_with_one_class_it_is_fisher_s_exact_test() -> None:
    confusion = [[95, 0], [5, 0]]  # the second class is predicted, but never true
    found = _p_value(confusion, [1] * 6 + [0] * 34, [0] * 40)
    assert found == pytest.approx(fisher_exact([[6, 34], [5, 95]], alternative="greater").pvalue)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    counts=st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 6), st.integers(4, 10), st.integers(0, 4)),
        min_size=2,
        max_size=4,
    ),
    order=st.randoms(use_true_random=False),
)
def test_the_order_of_the_classes_does_not_matter(counts: list[Any], order: Any) -> None:
    def found(rows: list[Any]) -> float | None:
        classes = len(rows)
        confusion = np.zeros((classes, classes), np.int64)
        predicted, truth = [], []
        for label, (right, wrong, items, errors) in enumerate(rows):
            confusion[label, label] = right
            confusion[(label + 1) % classes, label] = wrong
            truth += [label] * items
            predicted += [(label + 1) % classes] * errors + [label] * (items - errors)
        return _p_value(confusion, predicted, truth)

    shuffled = list(counts)
    order.shuffle(shuffled)
    first, second = found(counts), found(shuffled)
    assert first == (None if second is None else pytest.approx(second))
    assert first is None or 0 <= first <= 1


def test_more_of_a_hard_class_is_no_fall_of_the_accuracy() -> None:
    confusion = [[900, 300], [0, 700]]  # the second class is missed three times in ten
    hard = [1] * 90 + [0] * 10
    predicted = [0] * 27 + [1] * 63 + [0] * 10
    found = _p_value(confusion, predicted, hard)
    assert found is not None
    assert found > 0.2


def test_few_labels_are_told_and_not_tested() -> None:
    window = world.clean(50, 0)
    labels = np.where(np.arange(50) < 4, window.predicted, -1)
    concept, result = concept_drift(world.reference(), window, labels, CONFIG)
    assert (concept.note, concept.labelled, concept.correct) == (Note.TOO_FEW, 4, 4)
    assert result.note is Note.TOO_FEW


def test_labels_beyond_the_classes_do_not_count() -> None:
    window = world.clean(50, 0)
    concept, _ = concept_drift(world.reference(), window, np.full(50, 99), CONFIG)
    assert (concept.note, concept.labelled) == (Note.NO_LABELS, 0)


def _record(version: str, digest: str, targets: dict[str, int], mean: float) -> dict[str, Any]:
    return {
        "model_version": version,
        "targets": targets,
        "dataset": {"digest": digest},
        "features": {"mean": [mean], "std": [0.3], "histogram": [70] + [2] * 15},
    }


def test_two_trainings_are_compared() -> None:
    records = [
        _record("0.9", "x", {"cat": 1, "dog": 1}, 0.9),
        _record("1.0", "a", {"cat": 500, "dog": 500}, 0.5),
        _record("1.1", "b", {"cat": 500, "dog": 300, "owl": 200}, 0.4),
    ]
    change = training_change(records)
    assert change is not None
    assert (change.before, change.after, change.same_data) == ("1.0", "1.1", False)
    assert change.class_shift == pytest.approx(0.2)
    assert change.class_p_value is not None
    assert change.class_p_value < 1e-6
    assert change.brightness_change == pytest.approx(-0.1)
    assert change.histogram_shift == 0
    assert "version 1.1 was trained on other data than 1.0" in change.says


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"targets": []},
        _record("1.0", "a", {}, 0.5),
        _record("1.0", "a", {"cat": "many"}, 0.5),  # type: ignore[dict-item]
        _record("1.0", "a", {"cat": 3}, 0.5) | {"features": None},
        _record("1.0", "a", {"cat": 3}, 0.5) | {"features": {"histogram": [0], "mean": [0]}},
    ],
)
def test_records_that_do_not_compare_are_left_out(record: dict[str, Any]) -> None:
    sound = _record("1.1", "b", {"cat": 500, "dog": 300}, 0.4)
    assert training_change([record, sound]) is None
    assert training_change([sound, record]) is None
    assert training_change([sound]) is None
