"""Does the model err more than it did? Where labels came, and between two trainings.

N items, K classes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from monitoring.analysis.config import DriftConfig
from monitoring.analysis.results import tested, told, untested
from monitoring.drift import chi_square, total_variation
from monitoring.drift_report import ConceptDrift, Note, TestName, TestResult, TrainingChange
from monitoring.proportion import proportion
from monitoring.reference import Reference
from monitoring.window import Window

_MIN_LABELS = 10
"""Labelled items below which the accuracy is told, but not tested."""

Counts = NDArray[np.int64]


def concept_drift(
    reference: Reference,
    window: Window,
    labels: NDArray[np.int64] | None,
    config: DriftConfig,
) -> tuple[ConceptDrift, TestResult]:
    """Compare the accuracy on labelled items with that on the reference's images of their classes.

    `labels` is N, the index of the true class, negative where there is none. The test is exact:
    given how many errors each class has in both samples together, how likely are so many in the
    window? It does not mind that the classes come in other shares than in the reference.
    """
    classes = len(reference.classes)
    if labels is None or window.classes != reference.classes:
        note = Note.NO_LABELS if labels is None else Note.UNKNOWN_CLASSES
        return _unknown(note), untested(config, TestName.ACCURACY, note, 0, "no labels to go by")
    known = (labels >= 0) & (labels < classes) & (window.predicted >= 0)
    truth = labels[known]
    right = window.predicted[known] == truth
    labelled = np.bincount(truth, minlength=classes)
    wrong = np.bincount(truth[~right], minlength=classes)
    seen = reference.confusion.sum(axis=0)
    usually_wrong = seen - np.diagonal(reference.confusion)
    compared = seen > 0
    rows = int(labelled[compared].sum())
    if rows < _MIN_LABELS:
        note = Note.TOO_FEW if len(truth) else Note.NO_LABELS
        says = f"{rows} items have labels"
        return _unknown(note, truth, right), untested(config, TestName.ACCURACY, note, rows, says)
    p_value = _errors_p_value(
        labelled[compared], wrong[compared], seen[compared], usually_wrong[compared]
    )
    accuracy = 1 - wrong[compared].sum() / rows
    rates = usually_wrong[compared] / seen[compared]
    expected = 1 - float(labelled[compared] @ rates) / rows
    concept = _concept(Note.OK, len(truth), int(right.sum()), expected, p_value)
    result = tested(
        config,
        TestName.ACCURACY,
        statistic=float(accuracy),
        p_value=p_value,
        effect=float(expected - accuracy),
        rows=rows,
        says=f"{accuracy:.1%} of {rows} labelled items were right, {expected:.1%} is usual for "
        f"their classes, {told(p_value)}",
    )
    return concept, result


def _unknown(
    note: Note,
    truth: NDArray[np.int64] | None = None,
    right: NDArray[np.bool_] | None = None,
) -> ConceptDrift:
    labelled = 0 if truth is None else len(truth)
    return _concept(note, labelled, 0 if right is None else int(right.sum()), None, None)


def _concept(
    note: Note, labelled: int, correct: int, expected: float | None, p_value: float | None
) -> ConceptDrift:
    accuracy = proportion(correct, labelled)
    return ConceptDrift(
        note=note,
        labelled=labelled,
        correct=correct,
        accuracy=accuracy.value,
        expected=expected,
        low=accuracy.low,
        high=accuracy.high,
        p_value=p_value,
    )


def _errors_p_value(labelled: Counts, wrong: Counts, seen: Counts, usually_wrong: Counts) -> float:
    """Return how likely at least so many errors are; the sum over classes by convolution."""
    law = np.ones(1)
    for size, errors, others, other_errors in np.stack(
        [labelled, wrong, seen, usually_wrong], axis=1
    ).tolist():
        pooled = errors + other_errors
        support = np.arange(min(pooled, size) + 1)
        law = np.convolve(law, hypergeom.pmf(support, size + others, pooled, size))
    return float(min(law[int(wrong.sum()) :].sum(), 1.0))


def training_change(records: Sequence[Mapping[str, Any]]) -> TrainingChange | None:
    """Compare the last two train records; None if there are fewer, or they do not compare."""
    if len(records) < 2:
        return None
    before, after = records[-2], records[-1]
    try:
        names = sorted(set(before["targets"]) | set(after["targets"]))
        old, new = (
            np.array([int(record["targets"].get(name, 0)) for name in names])
            for record in (before, after)
        )
        histograms = [np.array(r["features"]["histogram"], dtype=np.float64) for r in records[-2:]]
        means, spreads = (
            [float(np.mean(record["features"][field])) for record in (before, after)]
            for field in ("mean", "std")
        )
        if not all(counts.sum() > 0 for counts in (old, new, *histograms)):
            return None
        same_data = before["dataset"]["digest"] == after["dataset"]["digest"]
        versions = str(before["model_version"]), str(after["model_version"])
        moved = float(total_variation(old / old.sum(), new / new.sum()))
        pixels = float(total_variation(*(counts / counts.sum() for counts in histograms)))
        test = chi_square(old, new)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # an imported network has a record without data
    return TrainingChange(
        before=versions[0],
        after=versions[1],
        same_data=same_data,
        class_shift=moved,
        class_p_value=None if np.isnan(test.p_value) else test.p_value,
        brightness_change=means[1] - means[0],
        contrast_change=spreads[1] - spreads[0],
        histogram_shift=pixels,
        says=f"version {versions[1]} was trained on {'the same' if same_data else 'other'} data "
        f"{'as' if same_data else 'than'} {versions[0]}: {moved:.1%} of the class shares and "
        f"{pixels:.1%} of the pixel histogram moved",
    )
