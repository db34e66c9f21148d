"""How figures of a report are put into words, the same in every rendering."""

from __future__ import annotations

from collections.abc import Mapping

from robustness.evaluation.report import Check, RobustnessReport

NOT_THERE = "–"


def number_text(value: float | None, digits: int = 4) -> str:
    """Return a number, or a dash where there is none."""
    return NOT_THERE if value is None else f"{value:.{digits}f}"


def mapping_text(mapping: Mapping[str, object]) -> str:
    """Return `key value` pairs on one line, a dash if there is none."""
    pairs = [
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in mapping.items()
    ]
    return ", ".join(pairs) or NOT_THERE


def doubts(report: RobustnessReport) -> str:
    """Return the failed checks that withhold figures, with what was seen."""
    failed = [f"{check.name}: {check.seen}" for check in report.checks if _withholds(check)]
    return "; ".join(failed) or "no fatal check failed; too few images"


def _withholds(check: Check) -> bool:
    return check.fatal and not check.passed
