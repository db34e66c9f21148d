"""Maximum mean discrepancy: a test whether two sets of vectors have the same distribution.

The unbiased estimate with a Gaussian kernel, its width the median distance, its p-value from
permutations (Gretton et al. 2012). Kernel values are made block by block and never kept, so memory
grows with the rows and not with their square.

    M rows of the reference, N of the window, R = M + N, E dimensions, P permutations
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 200
MAX_ROWS = 2000
"""Rows of each side that are used; of more, so many are drawn."""
MEDIAN_ROWS = 1000
BLOCK_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Mmd:
    """The test's outcome; NaN where a side has fewer than two finite rows."""

    statistic: float  # unbiased MMD squared; may be below 0
    p_value: float  # at least 1 / (P + 1)
    bandwidth: float  # of the kernel exp(-distance^2 / (2 bandwidth^2)); NaN if all rows are equal
    reference_rows: int  # finite rows used
    rows: int


def mmd(
    reference: NDArray[Any],
    current: NDArray[Any],
    *,
    bandwidth: float | None = None,
    permutations: int = PERMUTATIONS,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> Mmd:
    """Compare vectors [M, E] and [N, E]; rows that are not finite throughout are left out.

    Equal arguments give equal results. Raises `ValueError` if the dimensions differ.
    """
    if reference.ndim != 2 or current.ndim != 2 or reference.shape[1] != current.shape[1]:
        raise ValueError(f"expected M E and N E, got {reference.shape} and {current.shape}")
    draw = np.random.default_rng(seed)
    first, second = (_usable(side, max_rows, draw) for side in (reference, current))
    sizes = {"reference_rows": len(first), "rows": len(second)}
    if min(len(first), len(second)) < 2:
        return Mmd(statistic=np.nan, p_value=np.nan, bandwidth=np.nan, **sizes)
    pooled = np.concatenate([first, second])
    pooled = pooled - pooled.mean(axis=0)  # distances keep their digits
    width = median_distance(pooled, draw) if bandwidth is None else bandwidth
    if not width > 0:
        return Mmd(statistic=0.0, p_value=1.0, bandwidth=np.nan, **sizes)
    sides = _assignments(len(first), len(pooled), permutations, draw)
    statistics = _statistics(pooled, sides, width)
    # A tie counts as at least as extreme; rounding must not break it.
    extreme = (statistics[1:] >= statistics[0] - 1e-12).sum()
    p_value = (1 + int(extreme)) / (1 + permutations)
    return Mmd(statistic=float(statistics[0]), p_value=p_value, bandwidth=width, **sizes)


def median_distance(rows: NDArray[Any], draw: np.random.Generator) -> float:
    """Return the median distance between rows [R, E] that differ; 0 if none do.

    Of more than `MEDIAN_ROWS` rows, so many are drawn.
    """
    some = rows
    if len(rows) > MEDIAN_ROWS:
        some = rows[draw.choice(len(rows), MEDIAN_ROWS, replace=False)]
    squares = _squared_distances(some, some)[np.triu_indices(len(some), 1)]
    apart = squares[squares > 1e-24 * max(float(squares.max(initial=0.0)), 1e-276)]
    return float(np.sqrt(np.median(apart))) if len(apart) else 0.0


def _usable(side: NDArray[Any], max_rows: int, draw: np.random.Generator) -> NDArray[np.float64]:
    finite: NDArray[np.float64] = side[np.isfinite(side).all(axis=1)].astype(np.float64)
    if len(finite) <= max_rows:
        return finite
    return finite[np.sort(draw.choice(len(finite), max_rows, replace=False))]


def _assignments(
    size: int, rows: int, permutations: int, draw: np.random.Generator
) -> NDArray[np.float64]:
    """Return [R, 1 + P]: 1 for rows of the first side; as they are, then permuted."""
    actual = (np.arange(rows) < size).astype(np.float64)
    shuffled = draw.permuted(np.tile(actual, (permutations, 1)), axis=1)
    return np.concatenate([actual[None], shuffled]).T.copy()


def _statistics(
    pooled: NDArray[np.float64], sides: NDArray[np.float64], bandwidth: float
) -> NDArray[np.float64]:
    """Return the unbiased MMD squared of every assignment, [1 + P].

    With K the kernel, zero on its diagonal, and s an assignment: s'Ks sums the first side,
    s'K1 - s'Ks both together, and what is left of 1'K1 the second side.
    """
    within, touching, total = np.zeros(sides.shape[1]), np.zeros(sides.shape[1]), 0.0
    for start in range(0, len(pooled), BLOCK_ROWS):
        block = pooled[start : start + BLOCK_ROWS]
        kernel = np.exp(_squared_distances(block, pooled) / (-2 * bandwidth**2))
        kernel[np.arange(len(block)), start + np.arange(len(block))] = 0.0
        chosen = sides[start : start + BLOCK_ROWS]
        within += ((kernel @ sides) * chosen).sum(axis=0)
        sums = kernel.sum(axis=1)
        touching += sums @ chosen
        total += float(sums.sum())
    first = sides[:, 0].sum()
    second = len(pooled) - first
    across = touching - within
    other = total - within - 2 * across
    return np.asarray(
        within / (first * (first - 1))
        + other / (second * (second - 1))
        - 2 * across / (first * second)
    )


def _squared_distances(
    some: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    products = some @ others.T
    squares = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * products
    return np.asarray(np.maximum(squares, 0.0))
