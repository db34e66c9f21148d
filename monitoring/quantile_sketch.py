"""Quantile sketches: a column as at most a few thousand values of equal weight, sorted.

A sketch is itself a small sample, so whatever compares two samples compares a sketch with one.
Its value number k stands for the shares from k/Q to (k + 1)/Q: it is the value at (k + 1/2)/Q.
Nothing is interpolated, so values that occur often (clipped pixels, zeros) stay what they are.

    N rows, F features, Q quantiles
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.reference import QUANTILES

LARGEST = 1e140
"""Values beyond it count as not finite, so that their squares are still numbers."""

Column = NDArray[Any]
"""N numbers of any kind, NaN and infinities allowed."""


def sketch(values: NDArray[Any], limit: int = QUANTILES) -> NDArray[np.float64]:
    """Return the quantiles [F, Q] of values [N, F], with Q = min(N, limit).

    With at most `limit` rows, all of them finite, a row holds the values themselves, sorted.
    Otherwise its distribution function is off by at most 1/(2Q). Values that are not finite are
    left out; a feature without any finite value is a row of NaN. Raises `ValueError` unless
    there are two dimensions and the limit is positive.
    """
    if values.ndim != 2 or limit < 1:
        raise ValueError(f"expected N F and a limit above 0, got {values.shape} and {limit}")
    length = min(len(values), limit)
    return np.stack(
        [column_sketch(values[:, each], length) for each in range(values.shape[1])]
        or [np.empty(0)],
    ).reshape(values.shape[1], length)


def column_sketch(values: Column, length: int) -> NDArray[np.float64]:
    """Return `length` values of equal weight that stand for a column; NaN if none is finite."""
    ordered = sorted_finite(values)
    if not len(ordered):
        return np.full(length, np.nan)
    middles = (2 * np.arange(length, dtype=np.int64) + 1) * len(ordered) // (2 * length)
    return ordered[middles].astype(np.float64)


def sorted_finite(values: Column) -> Column:
    """Return the finite values in order: float32 stays, anything else becomes float64."""
    kept = values if values.dtype == np.float32 else values.astype(np.float64, copy=False)
    ordered = np.sort(kept)  # NaN goes last, the infinities lie at the ends
    largest = min(LARGEST, float(np.finfo(ordered.dtype).max))
    first, last = np.searchsorted(ordered, [-largest, largest], side="left")
    last += np.searchsorted(ordered[last:], largest, side="right")
    return ordered[first:last]
