"""Whether what a model sees has drifted from its reference, and what kind of drift it is.

N items of a window, F features, K classes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.analysis.assembly import (
    headline,
    notes_on_rows,
    notes_on_tests,
    uncompared,
)
from monitoring.analysis.class_shift import class_shares, class_test
from monitoring.analysis.concept import concept_drift, training_change
from monitoring.analysis.config import DriftConfig
from monitoring.analysis.deployment import Deployment
from monitoring.analysis.kinds import weigh
from monitoring.analysis.marginals import feature_drifts
from monitoring.analysis.observations import observe
from monitoring.analysis.outputs import embedding_test, output_test
from monitoring.analysis.photometric import photometric_test
from monitoring.analysis.screening_rate import screening_test
from monitoring.drift_report import DriftReport, Outcome, TestResult
from monitoring.reference import Reference
from monitoring.sessions import thin_sessions
from monitoring.window import Window

__all__ = ["UNLABELLED", "Deployment", "DriftConfig", "analyse"]

UNLABELLED = -1


def analyse(
    reference: Reference | None,
    window: Window,
    *,
    config: DriftConfig | None = None,
    history: Sequence[Deployment] = (),
    labels: NDArray[np.int64] | None = None,
    train_records: Sequence[Mapping[str, Any]] = (),
    calibration: Mapping[str, Any] | None = None,
) -> DriftReport:
    """Compare a window with the reference and weigh what may have changed.

    `labels` is N, the index of the true class or `UNLABELLED`, beside the rows of `window`.
    `history` is what answered and since when (`monitoring.deployments`). `train_records` are those
    of successive versions, oldest first; the last two are compared. `calibration` is the
    artifact's `screening["calibration"]`. Frames of one session are thinned first.

    Deterministic for one `config.seed`. Bad data is a note in the report, never an exception;
    raises `ValueError` only if `labels` has another length than the window.
    """
    config = config or DriftConfig()
    if labels is not None and len(labels) != len(window):
        raise ValueError(f"{len(labels)} labels for {len(window)} items")
    report = uncompared(window, config, training_change(train_records))
    if reference is None:
        return report
    # thinning keeps rows whole, so a row's number in place of its item tells which were kept
    rows = thin_sessions(replace(window, item=np.arange(len(window)))).item
    thinned = window.take(rows)
    concept, accuracy = concept_drift(
        reference, thinned, None if labels is None else labels[rows], config
    )
    report = replace(
        report,
        reference_version=reference.version,
        reference_rows=reference.images,
        effective_rows=len(thinned),
        concept=concept,
        notes=notes_on_rows(reference, window, thinned),
    )
    if len(thinned) < config.min_rows:
        says = f"{len(thinned)} independent items are too few: {config.min_rows} are needed"
        return replace(report, outcome=Outcome.TOO_FEW_ROWS, says=says)
    report = _tested(report, reference, thinned, config, accuracy, calibration)
    if report.outcome is Outcome.QUIET:
        return report
    seen = observe(reference, thinned, config, report, history)
    return replace(report, change=seen.change, kinds=weigh(seen))


def _tested(
    report: DriftReport,
    reference: Reference,
    window: Window,
    config: DriftConfig,
    accuracy: TestResult,
    calibration: Mapping[str, Any] | None,
) -> DriftReport:
    """Return the report with all tests, features and class shares, and its outcome."""
    features, over_features = feature_drifts(reference, window, config)
    shares, class_note = class_shares(reference, window, config)
    tests = (
        photometric_test(reference, window, config),
        over_features,
        output_test(reference, window, config),
        embedding_test(reference, window, config),
        class_test(reference, window, config),
        screening_test(reference, window, config, calibration),
        accuracy,
    )
    return replace(
        report,
        outcome=Outcome.DRIFT if any(test.rejected for test in tests) else Outcome.QUIET,
        says=headline(tests),
        tests=tests,
        features=features,
        class_shares=shares,
        class_note=class_note,
        notes=(*report.notes, *notes_on_tests(tests)),
    )
