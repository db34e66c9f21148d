"""Exact Wasserstein and Kolmogorov-Smirnov distances between two sorted samples.

One sample is short (a sketch), the other may have millions of rows: it is summed up once and looked
into by bisection, so the cost beyond that grows with the sketch alone. Ties are handled exactly.

    Q values of the sketch, N rows
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, kolmogorov

EXACT_LAW_ROWS = 1000
"""Up to so many effective rows p-values come from Kolmogorov's law for finite samples."""

Sorted = NDArray[np.float64]


def wasserstein_sorted(sketch: Sorted, values: Sorted) -> float:
    """Return the Wasserstein-1 distance: how far a row has to move on average, in its own unit.

    It is the mean over all ranks of |quantile of one - quantile of the other|. Each sketch value
    faces N/Q ranks of the other sample (parts of rows included); where it falls among those, the
    difference changes sign, and prefix sums give both parts.
    """
    length, rows = len(sketch), len(values)
    centre = sketch[length // 2]  # sums of what is near zero lose no digits
    sums = np.empty(rows + 1)
    sums[0] = 0.0
    np.cumsum(np.subtract(values, centre, out=sums[1:]), out=sums[1:])
    whole, part = np.divmod(np.arange(length + 1, dtype=np.int64) * rows, length)
    ranks = whole + part / length
    cut_row = values[np.minimum(whole, rows - 1)] - centre
    sums_at = sums[whole] + part / length * cut_row
    mine, found = sketch - centre, np.searchsorted(values, sketch)
    split = np.clip(found, ranks[:-1], ranks[1:])
    sum_at_split = np.where(
        found <= ranks[:-1], sums_at[:-1], np.where(found >= ranks[1:], sums_at[1:], sums[found])
    )
    below = mine * (split - ranks[:-1]) - (sum_at_split - sums_at[:-1])
    above = (sums_at[1:] - sum_at_split) - mine * (ranks[1:] - split)
    return float(np.maximum(below, 0.0).sum() + np.maximum(above, 0.0).sum()) / rows


def ks_sorted(sketch: Sorted, values: Sorted) -> float:
    """Return the largest difference of the two empirical distribution functions, ties included.

    Between two sketch values one of them is flat and the other grows, so it is largest at a
    sketch value or just before one.
    """
    differences = [
        np.abs(
            np.searchsorted(values, sketch, side=side) / len(values)
            - np.searchsorted(sketch, sketch, side=side) / len(sketch)
        ).max()
        for side in ("left", "right")
    ]
    return float(max(differences))


def ks_p_value(
    statistic: NDArray[Any], rows: NDArray[Any], other_rows: float
) -> NDArray[np.float64]:
    """Return the two-sided asymptotic p-values of two-sample statistics [F]; NaN without rows.

    With m and n rows the law is Kolmogorov's for mn/(m+n) rows, as in SciPy's `ks_2samp(...,
    method="asymp")`; beyond `EXACT_LAW_ROWS` of them the limit law, a few per cent larger. No
    p-value is below that of the most extreme order of m + n rows, which the law does not know.
    With ties the p-values are too large rather than too small.
    """
    statistic, rows = np.asarray(statistic, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    known = ~np.isnan(statistic) & (rows > 0) & (other_rows > 0)
    distance, one, other = statistic[known], rows[known], np.float64(other_rows)
    effective = one * other / (one + other)
    p_value = np.asarray(kolmogorov(np.sqrt(effective) * distance))
    few = effective <= EXACT_LAW_ROWS
    if few.any():
        from scipy.stats import kstwo  # takes most of a second to import

        p_value[few] = kstwo.sf(distance[few], np.maximum(np.round(effective[few]), 1.0))
    orders = gammaln(one + other + 1) - gammaln(one + 1) - gammaln(other + 1)
    result = np.full(statistic.shape, np.nan)
    result[known] = np.clip(p_value, 2 * np.exp(-orders), 1.0)
    return result
