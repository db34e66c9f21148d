"""Do the images look different: darker, flatter, noisier? A test of location on a few numbers.

Brightness, contrast, extremes and sharpness say what an eye would notice first. Their location is
compared by Mann and Whitney's test (1947), ties corrected, which sees a shift with fewer items than
a test of whole distributions.

    N items, M rows of the reference's sample, P photometric features
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from monitoring.analysis.config import DriftConfig
from monitoring.analysis.marginals import columns, shared_features
from monitoring.analysis.results import in_deviations, tested, told, untested
from monitoring.drift import benjamini_hochberg
from monitoring.drift_report import Note, TestName, TestResult
from monitoring.reference import Reference
from monitoring.window import Window

_PHOTOMETRIC = re.compile(r"(mean|std|min|max)_\d+|sharpness")
_SEEN_AS = {
    "mean": "brightness",
    "std": "contrast",
    "min": "darkest pixel",
    "max": "brightest pixel",
    "sharpness": "sharpness",
}


def photometric_features(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the names that say how an image looks."""
    return tuple(name for name in names if _PHOTOMETRIC.fullmatch(name))


def photometric_test(reference: Reference, window: Window, config: DriftConfig) -> TestResult:
    """Return whether any of them lies elsewhere than in the reference (Simes over them)."""
    names = photometric_features(shared_features(reference, window))
    before = reference.features[:, columns(reference.feature_names, names)]  # M P
    after = window.features[:, columns(window.feature_names, names)]  # N P
    rows = np.isfinite(after).sum(axis=0)
    usable = (rows >= config.min_rows) & np.isfinite(before).any(axis=0)
    if not usable.any():
        note = Note.TOO_FEW if rows.any() else Note.ABSENT
        says = "the items have no brightness, contrast or sharpness to compare"
        return untested(config, TestName.PHOTOMETRIC, note, int(rows.max(initial=0)), says)
    compared = [_compare(before[:, each], after[:, each]) for each in np.flatnonzero(usable)]
    p_values = benjamini_hochberg(np.array([p_value for _, p_value, _ in compared]))
    first = int(p_values.argmin())
    name = names[np.flatnonzero(usable)[first]]
    rank, _, effect = compared[first]
    low, high = (_mean(side[:, names.index(name)]) for side in (before, after))
    return tested(
        config,
        TestName.PHOTOMETRIC,
        statistic=rank,
        p_value=float(p_values[first]),
        effect=effect,
        rows=int(rows[usable].max()),
        says=f"{_seen_as(name)} {low:.3g} → {high:.3g}{_times(low, high)} on average, "
        f"{told(float(p_values[first]))}",
    )


def _compare(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the rank-biserial correlation (-1..1), its p-value, and the shift in deviations."""
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if before[0] == after[0] and np.ptp(before) == np.ptp(after) == 0:
        return 0.0, 1.0, 0.0
    result = mannwhitneyu(after, before, method="asymptotic")
    rank = 2 * float(result.statistic) / (len(before) * len(after)) - 1
    effect = in_deviations(abs(float(after.mean() - before.mean())), float(before.std()))
    return rank, float(result.pvalue), effect


def _mean(values: NDArray[np.float64]) -> float:
    return float(values[np.isfinite(values)].mean())


def _times(low: float, high: float) -> str:
    return f" (× {high / low:.2f})" if low > 0 else ""


def _seen_as(name: str) -> str:
    field, _, channel = name.partition("_")
    return _SEEN_AS[field] + (f" of channel {channel}" if channel not in ("", "0") else "")
