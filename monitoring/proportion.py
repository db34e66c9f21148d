"""A share of counted cases, with its confidence interval."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from scipy.stats import binomtest


class IntervalMethod(StrEnum):
    """How an interval is computed."""

    WILSON = "wilson"  # near its level on average (Wilson 1927)
    EXACT = "exact"  # never below its level (Clopper and Pearson 1934)


@dataclass(frozen=True, slots=True)
class Proportion:
    """`successes` of `trials`; `value`, `low` and `high` are None if there were no trials."""

    successes: int
    trials: int
    value: float | None
    low: float | None
    high: float | None


def proportion(
    successes: int,
    trials: int,
    *,
    method: IntervalMethod = IntervalMethod.WILSON,
    confidence: float = 0.95,
) -> Proportion:
    """Return the share of successes with its two-sided confidence interval.

    Raises `ValueError` unless 0 <= successes <= trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials}")
    if trials == 0:
        return Proportion(0, 0, None, None, None)
    test = binomtest(successes, trials)
    interval = test.proportion_ci(confidence_level=confidence, method=str(method))
    return Proportion(
        successes, trials, successes / trials, float(interval.low), float(interval.high)
    )
