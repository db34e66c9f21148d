"""All measures of one column against the reference's quantiles of it.

N rows, Q quantiles
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.quantile_sketch import Column, sorted_finite
from monitoring.reference_bins import BINS, bins_of
from monitoring.shares import (
    jensen_shannon_of_shares,
    kl_of_shares,
    psi_of_shares,
    smoothed_shares,
)
from monitoring.sorted_samples import ks_sorted, wasserstein_sorted

FEW_ROWS = 10
"""With fewer finite values a column is measured all the same, and noted."""


class Note(StrEnum):
    """What to know before reading a feature's numbers; the first that applies."""

    ALL_NAN = "all_nan"  # no finite value in the window, or none in the reference: not measured
    TOO_FEW = "too_few"  # fewer than `FEW_ROWS` finite values: measured, mostly noise
    CONSTANT = "constant"  # one value throughout the reference: effects are 0 or infinite
    OK = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMeasures:
    """The measures of one feature; NaN where there is nothing to measure."""

    kl: float = np.nan  # KL(window || reference) in nats
    wasserstein: float = np.nan
    jensen_shannon: float = np.nan  # distance, base 2
    psi: float = np.nan
    ks: float = np.nan
    effect: float = np.nan
    effect_iqr: float = np.nan
    bins: int = 0  # that are not empty in both
    rows: int = 0  # finite values
    missing: float = np.nan  # share of values that are not finite
    note: Note = Note.ALL_NAN


def measure(
    quantiles: NDArray[Any], values: Column, reference_rows: float, bins: int = BINS
) -> ColumnMeasures:
    """Compare a column [N] with sorted quantiles [Q] of equal weight, or NaN if there are none.

    `reference_rows` is how many rows the quantiles stand for. Raises `ValueError` unless both
    have one dimension.
    """
    if quantiles.ndim != 1 or values.ndim != 1:
        raise ValueError(f"expected Q and N, got {quantiles.shape} and {values.shape}")
    ordered = sorted_finite(values).astype(np.float64, copy=False)
    missing = 1 - len(ordered) / len(values) if len(values) else np.nan
    sketch = quantiles.astype(np.float64, copy=False)
    if not len(ordered) or not len(sketch) or np.isnan(sketch[-1]):
        return ColumnMeasures(rows=len(ordered), missing=missing)
    distance = wasserstein_sorted(sketch, ordered)
    quarters = sketch[[len(sketch) // 4, 3 * len(sketch) // 4]]
    kl, jensen_shannon, psi, used = _binned(sketch, ordered, reference_rows, bins)
    return ColumnMeasures(
        kl=kl,
        wasserstein=distance,
        jensen_shannon=jensen_shannon,
        psi=psi,
        ks=ks_sorted(sketch, ordered),
        effect=_ratio(distance, _spread(sketch)),
        effect_iqr=_ratio(distance, float(quarters[1] - quarters[0])),
        bins=used,
        rows=len(ordered),
        missing=missing,
        note=_note(sketch, ordered),
    )


def _binned(
    sketch: NDArray[np.float64], ordered: NDArray[np.float64], reference_rows: float, bins: int
) -> tuple[float, float, float, int]:
    """Return KL, Jensen-Shannon, PSI and the number of bins in which there is anything."""
    fixed = bins_of(sketch, bins)
    before, after = fixed.counts(sketch), fixed.counts(ordered)
    reference, current = smoothed_shares(before * (reference_rows / len(sketch)), after)
    return (
        float(kl_of_shares(current, reference)),
        float(jensen_shannon_of_shares(current, reference)),
        float(psi_of_shares(current, reference)),
        int(((before > 0) | (after > 0)).sum()),
    )


def _spread(sketch: NDArray[np.float64]) -> float:
    """Return the standard deviation, exactly 0 for a constant: rounding must not make one."""
    return 0.0 if sketch[0] == sketch[-1] else float(sketch.std())


def _ratio(distance: float, spread: float) -> float:
    if spread > 0:
        return distance / spread
    return 0.0 if distance == 0 else np.inf


def _note(sketch: NDArray[np.float64], ordered: NDArray[np.float64]) -> Note:
    if len(ordered) < FEW_ROWS:
        return Note.TOO_FEW
    return Note.CONSTANT if sketch[0] == sketch[-1] else Note.OK
