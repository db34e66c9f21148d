"""What is told of a model's predictions: dataclasses only.

A value that cannot be known is None, never 0, and `notes` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitoring.label_join import LabelCounts
from monitoring.proportion import Proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPerformance:
    """How one class fares among the labelled items."""

    name: str
    recall: Proportion
    """Of the items that are of this class, how many were predicted as it."""
    precision: Proportion
    """Of the items predicted as this class, how many are of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """One span of time, its realised and its estimated accuracy."""

    start_ns: int
    end_ns: int
    items: int
    accuracy: Proportion
    estimated: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Realised:
    """What the labels say; over the items with prediction and label."""

    accuracy: Proportion
    macro_recall: float | None
    """Mean recall of the classes that occurred: each class counts alike."""
    by_class: tuple[ClassPerformance, ...]
    by_version: Mapping[str, Proportion]
    confusion: tuple[tuple[int, ...], ...]
    """Counts, [predicted][true], in class order; empty beyond 100 classes."""
    median_delay_s: float | None
    """Seconds from a record to its label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateError:
    """How wrong the estimates were where labels tell."""

    items: int
    realised: Proportion
    calibrated: float
    """Calibrated confidence less realised accuracy, on the same items."""
    atc: float
    """The estimate by average thresholded confidence less realised accuracy."""
    within_interval: bool
    """Whether the estimate by calibrated confidence lies in the interval of the realised one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """What the model's own confidence says, without any label."""

    items: int
    left_out: int
    """Items with a prediction whose confidence is not a finite number."""
    accuracy: float
    """Mean calibrated confidence."""
    low: float
    high: float
    """95 % bootstrap interval: the chance of the two samples, not the error of a shift."""
    atc: float
    """Average thresholded confidence (Garg et al. 2022)."""
    atc_threshold: float
    unsupported: float
    """Share of the items less sure than 99.75 % of the sample: nothing is known of these."""
    reference_accuracy: float
    """Accuracy on the reference sample, on which both were calibrated."""
    by_class: Mapping[str, float | None]
    """Estimated precision: of the items predicted as a class."""
    by_version: Mapping[str, float | None]
    error: EstimateError | None
    """None without labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceReport:
    """How well a model predicts, as far as it can be known."""

    model: str
    start_ns: int | None
    end_ns: int | None
    items: int
    predicted: int
    labels: LabelCounts | None
    """None if there is no table of labels."""
    realised: Realised | None
    """None if no item of the window has a label."""
    estimated: Estimated | None
    """None if there is no reference or nothing to estimate from."""
    periods: tuple[Period, ...]
    notes: tuple[str, ...]
