"""Making a `TestResult`: one place decides what is rejected."""

from __future__ import annotations

import math

from monitoring.analysis.config import SMALLEST_EFFECT, DriftConfig
from monitoring.drift_report import Note, TestName, TestResult

_SMALLEST_TOLD = 1e-100
_ROUNDING = 1e-3
"""A quarter of what a pixel of 8 bits can tell apart, on the 0..1 scale."""


def tested(
    config: DriftConfig,
    name: TestName,
    *,
    statistic: float,
    p_value: float,
    effect: float,
    rows: int,
    says: str,
) -> TestResult:
    """Return the result of a test that was made; NaN as p-value rejects nothing."""
    level, smallest = config.level(name), SMALLEST_EFFECT[name]
    return TestResult(
        name=name,
        note=Note.OK,
        statistic=statistic,
        p_value=p_value,
        level=level,
        effect=effect,
        smallest_effect=smallest,
        rejected=p_value <= level and effect >= smallest,
        rows=rows,
        says=says,
    )


def untested(config: DriftConfig, name: TestName, note: Note, rows: int, says: str) -> TestResult:
    """Return the result of a test that could not be made."""
    return TestResult(
        name=name,
        note=note,
        statistic=None,
        p_value=None,
        level=config.level(name),
        effect=None,
        smallest_effect=SMALLEST_EFFECT[name],
        rejected=False,
        rows=rows,
        says=says,
    )


def told(p_value: float, resamples: int | None = None) -> str:
    """Return a p-value as text, "p <= ..." for the smallest that resampling can give."""
    if resamples is not None and p_value <= 1 / (resamples + 1):
        return f"p ≤ {1 / (resamples + 1):.2g}"
    return f"p = {p_value:.2g}" if p_value >= _SMALLEST_TOLD else f"p < {_SMALLEST_TOLD}"


def number(value: float) -> float | None:
    """Return a value, None if it is NaN."""
    return None if math.isnan(value) else float(value)


def in_deviations(shift: float, deviation: float) -> float:
    """Return a shift over the reference's standard deviation: infinite if it had none.

    Of a reference that does not vary, a shift by less than rounding may make is none.
    """
    if deviation > 0:
        return shift / deviation
    return math.inf if shift > _ROUNDING else 0.0
