"""What was observed of a drift, gathered before it is weighed.

N items, F features
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.analysis.change import change_moment
from monitoring.analysis.config import DriftConfig
from monitoring.analysis.deployment import Deployment, Marker, markers
from monitoring.analysis.groups import Group, groups
from monitoring.analysis.marginals import columns, shared_features
from monitoring.analysis.matched import same_within_classes
from monitoring.analysis.photometric import photometric_features
from monitoring.drift_report import (
    ChangeMoment,
    DriftReport,
    Note,
    Served,
    TestName,
    TestResult,
    TrainingChange,
)
from monitoring.features import MODEL_FEATURES
from monitoring.reference import Reference
from monitoring.window import Window

_SURELY_WITHIN = 0.01
"""A change is held to have begun within the window if its p-value is at most this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """All that the weighing looks at."""

    tests: tuple[TestResult, ...]
    drifted_image_features: tuple[str, ...]
    drifted_model_features: tuple[str, ...]
    same_within_classes: bool | None
    outside: float | None  # share of items beyond all the reference has seen
    groups: tuple[Group, ...]
    change: ChangeMoment | None
    markers: tuple[Marker, ...]  # those within the window
    marker_at_change: Marker | None
    reference_version: str
    served: tuple[Served, ...]
    training: TrainingChange | None

    def rejected(self, name: TestName) -> bool:
        """Whether that test was made and rejected."""
        return any(test.rejected for test in self.tests if test.name is name)

    def made(self, name: TestName) -> bool:
        """Whether that test could be made."""
        return any(test.note is Note.OK for test in self.tests if test.name is name)

    @property
    def images_drifted(self) -> bool:
        """Whether anything about the images themselves has drifted."""
        return self.rejected(TestName.PHOTOMETRIC) or bool(self.drifted_image_features)

    @property
    def change_is_within(self) -> bool:
        """Whether the change surely began within the window."""
        return self.change is not None and self.change.p_value <= _SURELY_WITHIN


def observe(
    reference: Reference,
    window: Window,
    config: DriftConfig,
    report: DriftReport,
    history: Sequence[Deployment],
) -> Observations:
    """Look closer at a window that has drifted, as `report` says; its items are independent."""
    features = report.features
    drifted = [row.name for row in features if row.drifted]
    change = None
    if features and features[0].adjusted_p is not None:
        change = change_moment(window, features[0].name, config)
    within = tuple(
        marker
        for marker in markers(history)
        if window.timestamp_ns.min() < marker.timestamp_ns <= window.timestamp_ns.max()
    )
    return Observations(
        tests=report.tests,
        drifted_image_features=tuple(name for name in drifted if name not in MODEL_FEATURES),
        drifted_model_features=tuple(name for name in drifted if name in MODEL_FEATURES),
        same_within_classes=same_within_classes(reference, window, config),
        outside=_outside(reference, window),
        groups=groups(reference, window, config),
        change=change,
        markers=within,
        marker_at_change=_nearest(within, change, window),
        reference_version=reference.version,
        served=report.served,
        training=report.training,
    )


def _outside(reference: Reference, window: Window) -> float | None:
    """Return the share of items with a photometric feature beyond the reference's extremes."""
    names = photometric_features(shared_features(reference, window))
    values = window.features[:, columns(window.feature_names, names)]
    usable = np.isfinite(values).all(axis=1)
    if not names or not usable.any():
        return None
    quantiles = reference.quantiles[columns(reference.feature_names, names)]
    low, high = quantiles[:, 0], quantiles[:, -1]
    slack = 1e-6 * np.maximum(np.abs(low), np.abs(high))  # logged numbers are float32
    beyond = (values[usable] < low - slack) | (values[usable] > high + slack)
    return float(beyond.any(axis=1).mean())


def _nearest(
    within: Sequence[Marker], change: ChangeMoment | None, window: Window
) -> Marker | None:
    """Return the marker at the change: at most 5 % of the window's items (or 10) lie between."""
    if change is None or not within or change.p_value > _SURELY_WITHIN:
        return None

    def distance(marker: Marker) -> int:
        before = int((window.timestamp_ns < marker.timestamp_ns).sum())
        return abs(before - change.rows_before)

    nearest = min(within, key=distance)
    return nearest if distance(nearest) <= max(10, len(window) // 20) else None
