"""How far rows lie from the nearest known rows, and what counts as a usual deviation.

A row's distance is a function of that row alone, bit for bit: which rows come together must not
decide about anything.

    N rows, M known rows, F columns
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

LEAST_DEVIATION = 1 / 255
"""Columns are taken to vary by a grey level at least, or by so much of their size if that is more.

Else a difference in rounding would be an event where the reference is constant.
"""
_AT_ONCE = 1024


def least_deviations(centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least deviation F of columns whose usual values are these."""
    return np.asarray(LEAST_DEVIATION * np.maximum(1, np.abs(centre)))


def mean_distance(
    rows: NDArray[Any], known: NDArray[np.float64], neighbours: int
) -> NDArray[np.float64]:
    """Return the mean distance of rows N F to their nearest known rows M F, M > 0.

    A row with a NaN has the distance NaN.
    """
    nearest = min(neighbours, len(known))
    found = np.empty(len(rows))
    for start in range(0, len(rows), _AT_ONCE):
        # by pairs, not by a matrix product, whose rounding depends on how many rows it is of
        with np.errstate(over="ignore", invalid="ignore"):
            distances = cdist(rows[start : start + _AT_ONCE].astype(np.float64), known)
            distances.partition(nearest - 1, axis=1)
            near = np.sort(distances[:, :nearest], axis=1)
            found[start : start + _AT_ONCE] = near.mean(axis=1)
    found[np.isnan(rows).any(axis=1)] = np.nan
    return found
