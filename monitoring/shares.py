"""Measures of how far two distributions over the same few bins or classes are apart.

    B bins or classes; ... any leading dimensions. Shares lie in 0..1 and add up to 1.

Kullback and Leibler 1951 (divergence), Lin 1991 (Jensen-Shannon), Endres and Schindelin 2003 (its
root is a distance), Siddiqi 2006 (population stability index and its bands), Yurdakul 2018 (its
distribution by chance).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, rel_entr

MODERATE_PSI = 0.1
LARGE_PSI = 0.25
PRIOR_ROWS = 0.5
"""Rows that smoothing adds for each bin, spread over the bins as the reference is."""

Shares = NDArray[np.float64]


class PsiBand(StrEnum):
    """The usual reading of a population stability index."""

    NONE = "none"  # below 0.1
    MODERATE = "moderate"  # below 0.25
    LARGE = "large"
    UNKNOWN = "unknown"  # there is no index


def smoothed_shares(reference: NDArray[Any], current: NDArray[Any]) -> tuple[Shares, Shares]:
    """Return the shares of two rows of counts [B], none of them zero where the other is not.

    A bin that is empty in the reference counts as half a row there. The shares of the window are
    drawn towards the reference's by half a row a bin, so an empty bin has a share, a window in
    the reference's proportions has exactly its shares whatever its size, and the fewer the rows
    the smaller the difference. A bin that is empty in both is empty in both results.
    """
    used = (reference > 0) | (current > 0)
    floored = np.where(used, np.maximum(reference, PRIOR_ROWS), 0.0)
    before = floored / floored.sum()
    prior = PRIOR_ROWS * used.sum()
    return before, (current + prior * before) / (current.sum() + prior)


def kl_of_shares(current: Shares, reference: Shares) -> NDArray[np.float64]:
    """Return the Kullback-Leibler divergence of current from reference, KL(current || reference).

    In nats; infinite where the reference has nothing and the other something.
    """
    return np.asarray(rel_entr(current, reference).sum(axis=-1))


def jensen_shannon_of_shares(one: Shares, other: Shares) -> NDArray[np.float64]:
    """Return the Jensen-Shannon distance, base 2: 0 for equal shares, 1 for disjoint ones."""
    middle = (one + other) / 2
    divergence = (kl_of_shares(one, middle) + kl_of_shares(other, middle)) / 2
    return np.asarray(np.sqrt(np.clip(divergence / np.log(2), 0.0, 1.0)))


def psi_of_shares(one: Shares, other: Shares) -> NDArray[np.float64]:
    """Return the population stability index: KL(one || other) + KL(other || one)."""
    return kl_of_shares(one, other) + kl_of_shares(other, one)


def total_variation(one: Shares, other: Shares) -> NDArray[np.float64]:
    """Return half the sum of the differences: the share of rows that would have to change bin."""
    return np.asarray(np.abs(np.asarray(one) - other).sum(axis=-1) / 2)


def psi_by_chance(
    bins: NDArray[Any] | int, reference_rows: float, rows: NDArray[Any] | int, level: float = 0.05
) -> NDArray[np.float64]:
    """Return what an index exceeds in `level` of all windows from the reference's distribution.

    (1/n + 1/N) times the quantile of chi-square with B - 1 degrees of freedom: an approximation
    for bins with a few rows each. NaN where there are no rows; 0 where there is one bin.
    """
    freedom = np.maximum(np.asarray(bins) - 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        quantile = np.where(freedom > 0, chdtri(np.maximum(freedom, 1), level), 0.0)
        scale = 1 / np.asarray(rows, dtype=np.float64) + 1 / np.float64(reference_rows)
        return np.asarray(np.where(np.isfinite(scale), quantile * scale, np.nan))


def psi_band(psi: float) -> PsiBand:
    """Return how an index is usually read; mind `psi_by_chance` for windows of few rows."""
    if np.isnan(psi):
        return PsiBand.UNKNOWN
    if psi < MODERATE_PSI:
        return PsiBand.NONE
    return PsiBand.MODERATE if psi < LARGE_PSI else PsiBand.LARGE
