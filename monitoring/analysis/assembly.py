"""Putting a report together: what is known before any test, its notes and its first line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from monitoring.analysis.config import DriftConfig
from monitoring.drift_report import (
    ConceptDrift,
    DriftReport,
    Note,
    Outcome,
    Served,
    TestResult,
    TrainingChange,
)
from monitoring.reference import Reference
from monitoring.window import Window

_NOT_COMPARED = ConceptDrift(
    note=Note.ABSENT,
    labelled=0,
    correct=0,
    accuracy=None,
    expected=None,
    low=None,
    high=None,
    p_value=None,
)


def uncompared(window: Window, config: DriftConfig, training: TrainingChange | None) -> DriftReport:
    """Return the report on a window for which there is no reference."""
    return DriftReport(
        model=window.model,
        outcome=Outcome.NO_REFERENCE,
        says="the artifact has no reference: run `torchkeep fit-detectors` on it again",
        reference_version=None,
        served=_served(window),
        start_ns=int(window.timestamp_ns.min()) if len(window) else None,
        end_ns=int(window.timestamp_ns.max()) if len(window) else None,
        rows=len(window),
        effective_rows=len(window),
        reference_rows=0,
        false_alarm_rate=config.false_alarm_rate,
        tests=(),
        features=(),
        class_shares=(),
        class_note=Note.ABSENT,
        concept=_NOT_COMPARED,
        training=training,
        change=None,
        kinds=(),
        notes=(),
    )


def _served(window: Window) -> tuple[Served, ...]:
    pairs = zip(window.version.tolist(), window.code_version.tolist(), strict=True)
    return tuple(
        Served(version=version, code_version=code, rows=rows)
        for (version, code), rows in sorted(Counter(pairs).items())
    )


def headline(tests: Sequence[TestResult]) -> str:
    """Return the most significant rejection in one line, or that there is none."""
    rejected = [test for test in tests if test.rejected]
    made = sum(test.note is Note.OK for test in tests)
    if not rejected:
        return f"{made} tests, none of which found a drift"
    first = min(rejected, key=lambda test: (test.p_value or 0.0) / test.level)
    return f"{len(rejected)} of {made} tests found a drift; {first.name}: {first.says}"


def notes_on_rows(reference: Reference, window: Window, thinned: Window) -> tuple[str, ...]:
    """Return which items do not count in full."""
    counted = {
        "are further frames of a session and do not count": len(window) - len(thinned),
        "were answered by other versions than the reference's": int(
            (window.version != reference.version).sum()
        ),
        "have no prediction": int((thinned.predicted < 0).sum()),
    }
    return tuple(f"{count} items {says}" for says, count in counted.items() if count)


def notes_on_tests(tests: Sequence[TestResult]) -> tuple[str, ...]:
    """Return which tests were not made, and why."""
    return tuple(
        f"{test.name} was not tested ({test.note}): {test.says}"
        for test in tests
        if test.note is not Note.OK
    )
