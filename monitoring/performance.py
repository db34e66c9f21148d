"""How well a model predicts: by labels where there are, by its own confidence where not.

N items, K classes
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from monitoring.accuracy_estimate import (
    LEAST_SAMPLE,
    ConfidenceModel,
    confidence_of,
    fit_confidence,
)
from monitoring.label_join import NOT_LABELLED, Joined, LabelCounts
from monitoring.performance_report import (
    ClassPerformance,
    Estimated,
    EstimateError,
    PerformanceReport,
    Period,
    Realised,
)
from monitoring.proportion import Proportion, proportion
from monitoring.reference import Reference
from monitoring.window import NOT_PREDICTED, Window
from torchkeep.schema import MAX_LOGGED_CLASSES

PERIODS = 24
MUCH_UNSUPPORTED = 0.03
"""Share of items outside what the reference knows, beyond which a note warns of the estimate."""


def performance(
    window: Window,
    *,
    reference: Reference | None = None,
    joined: Joined | None = None,
    periods: int = PERIODS,
) -> PerformanceReport:
    """Report on the items of `window`; `joined` is the same window with its labels.

    `periods` is how many equal spans of time the window is cut into. Never fails for lack of
    items, labels or a reference: what is missing is None, and `notes` says why. Raises
    `ValueError` if `joined` or `reference` is of another window or other classes.
    """
    truth = _truth(window, joined)
    confidence = confidence_of(window.probabilities, window.predicted)
    model = _confidence_model(window, reference)
    realised = _realised(window, truth, joined)
    estimated = _estimated(window, truth, confidence, model)
    times = window.timestamp_ns
    return PerformanceReport(
        model=window.model,
        start_ns=int(times.min()) if len(window) else None,
        end_ns=int(times.max()) if len(window) else None,
        items=len(window),
        predicted=int((window.predicted != NOT_PREDICTED).sum()),
        labels=joined.counts if joined else None,
        realised=realised,
        estimated=estimated,
        periods=_periods(window, truth, confidence, model, periods),
        notes=tuple(_notes(window, joined, reference, realised, estimated)),
    )


def _truth(window: Window, joined: Joined | None) -> NDArray[np.int64]:
    """N, the true class of each predicted item, NOT_LABELLED for all others."""
    if joined is None:
        return np.full(len(window), NOT_LABELLED, dtype=np.int64)
    if len(joined.truth) != len(window):
        raise ValueError(f"{len(joined.truth)} truths for {len(window)} items")
    return np.where(window.predicted != NOT_PREDICTED, joined.truth, NOT_LABELLED)


def _confidence_model(window: Window, reference: Reference | None) -> ConfidenceModel | None:
    if reference is None:
        return None
    if reference.classes != window.classes:
        raise ValueError("the reference has other classes than the window")
    return fit_confidence(reference)


def _accuracy(predicted: NDArray[np.int64], truth: NDArray[np.int64]) -> Proportion:
    labelled = truth != NOT_LABELLED
    return proportion(int((predicted == truth)[labelled].sum()), int(labelled.sum()))


def _realised(window: Window, truth: NDArray[np.int64], joined: Joined | None) -> Realised | None:
    labelled = truth != NOT_LABELLED
    if joined is None or not labelled.any():
        return None
    confusion = np.zeros((len(window.classes), len(window.classes)), dtype=np.int64)
    np.add.at(confusion, (window.predicted[labelled], truth[labelled]), 1)
    by_class = tuple(
        ClassPerformance(
            name=name,
            recall=proportion(int(confusion[k, k]), int(confusion[:, k].sum())),
            precision=proportion(int(confusion[k, k]), int(confusion[k].sum())),
        )
        for k, name in enumerate(window.classes)
    )
    recalls = [one.recall.value for one in by_class if one.recall.value is not None]
    return Realised(
        accuracy=_accuracy(window.predicted, truth),
        macro_recall=float(np.mean(recalls)),
        by_class=by_class,
        by_version={
            str(version): _accuracy(window.predicted[rows], truth[rows])
            for version, rows in _versions(window)
        },
        confusion=_as_tuples(confusion) if len(confusion) <= MAX_LOGGED_CLASSES else (),
        median_delay_s=float(np.median(joined.delay_s[labelled])),
    )


def _as_tuples(counts: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(count) for count in row) for row in counts)


def _estimated(
    window: Window,
    truth: NDArray[np.int64],
    confidence: NDArray[np.float64],
    model: ConfidenceModel | None,
) -> Estimated | None:
    usable = np.isfinite(confidence)
    if model is None or not usable.any():
        return None
    right = np.full(len(window), np.nan)
    right[usable] = model.probability_right(confidence[usable])
    low, high = model.interval(confidence[usable])
    return Estimated(
        items=int(usable.sum()),
        left_out=int((window.predicted != NOT_PREDICTED).sum() - usable.sum()),
        accuracy=float(right[usable].mean()),
        low=low,
        high=high,
        atc=model.atc(confidence[usable]),
        atc_threshold=model.atc_threshold,
        unsupported=model.unsupported(confidence[usable]),
        reference_accuracy=model.accuracy,
        by_class={
            name: _mean(right[usable & (window.predicted == k)])
            for k, name in enumerate(window.classes)
        },
        by_version={
            str(version): _mean(right[usable & rows]) for version, rows in _versions(window)
        },
        error=_error(window, truth, confidence, model),
    )


def _error(
    window: Window,
    truth: NDArray[np.int64],
    confidence: NDArray[np.float64],
    model: ConfidenceModel,
) -> EstimateError | None:
    both = (truth != NOT_LABELLED) & np.isfinite(confidence)
    realised = _accuracy(window.predicted[both], truth[both])
    if realised.value is None or realised.low is None or realised.high is None:
        return None
    calibrated = float(model.probability_right(confidence[both]).mean())
    return EstimateError(
        items=realised.trials,
        realised=realised,
        calibrated=calibrated - realised.value,
        atc=model.atc(confidence[both]) - realised.value,
        within_interval=realised.low <= calibrated <= realised.high,
    )


def _periods(
    window: Window,
    truth: NDArray[np.int64],
    confidence: NDArray[np.float64],
    model: ConfidenceModel | None,
    count: int,
) -> tuple[Period, ...]:
    """Equal spans of time from the first item to the last; those without items are among them."""
    if not len(window):
        return ()
    times = window.timestamp_ns
    first, end = int(times.min()), int(times.max()) + 1
    edges = sorted({first + (end - first) * number // count for number in range(count + 1)})
    found = []
    for start, stop in pairwise(edges):
        rows = (times >= start) & (times < stop)
        usable = confidence[rows & np.isfinite(confidence)]
        found.append(
            Period(
                start_ns=start,
                end_ns=stop,
                items=int(rows.sum()),
                accuracy=_accuracy(window.predicted[rows], truth[rows]),
                estimated=_mean(model.probability_right(usable)) if model and len(usable) else None,
            )
        )
    return tuple(found)


def _versions(window: Window) -> list[tuple[str, NDArray[np.bool_]]]:
    return [(version, window.version == version) for version in np.unique(window.version)]


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _notes(
    window: Window,
    joined: Joined | None,
    reference: Reference | None,
    realised: Realised | None,
    estimated: Estimated | None,
) -> list[str]:
    """Why what is missing is missing."""
    notes = []
    if not len(window):
        notes.append("no items in the window")
    if realised is None:
        why = "no table of labels" if joined is None else "no label belongs to an item"
        notes.append(f"accuracy is not known: {why}")
    if reference is None:
        notes.append("accuracy is not estimated: the artifact has no reference")
    elif estimated is None:
        notes.append(
            "accuracy is not estimated: no item has a finite confidence, or the reference sample "
            f"has fewer than {LEAST_SAMPLE} such images"
        )
    else:
        notes += _doubts(estimated)
    return notes if joined is None else notes + _of_labels(joined.counts)


def _of_labels(counts: LabelCounts) -> list[str]:
    """What of the labels hints at a mistake, rather than at labels of another time."""
    told = {
        "labels are older than their request: a clock is wrong": counts.early,
        "labels are no class of the model": counts.unknown_class,
        "files of labels cannot be read: what they hold is not counted": counts.unreadable_files,
    }
    return [f"{count} {what}" for what, count in told.items() if count]


def _doubts(estimated: Estimated) -> list[str]:
    notes = []
    if estimated.left_out:
        notes.append(f"{estimated.left_out} items without a finite confidence are not estimated")
    if estimated.unsupported > MUCH_UNSUPPORTED:
        notes.append(
            f"{estimated.unsupported:.1%} of the items are less sure than nearly all of the "
            "reference sample: what is estimated of them is a guess"
        )
    return notes
