"""How far a window is from its reference, feature by feature: pure functions of arrays.

A feature is sorted once and compared with the reference's quantiles, which gives all measures.
Wasserstein-1 and Kolmogorov-Smirnov are exact for the two samples. Kullback-Leibler, Jensen-Shannon
and PSI count rows in bins fixed at the reference's deciles, so that windows compare.

    N rows, M rows of another sample, F features, Q quantiles
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.column_measures import FEW_ROWS, ColumnMeasures, Note, measure
from monitoring.quantile_sketch import Column, sorted_finite
from monitoring.reference_bins import BINS
from monitoring.shares import psi_band, psi_by_chance, total_variation
from monitoring.significance import Significance, benjamini_hochberg, chi_square
from monitoring.sorted_samples import ks_p_value

__all__ = [
    "FEW_ROWS",
    "Distances",
    "Note",
    "Significance",
    "benjamini_hochberg",
    "chi_square",
    "distances",
    "distances_of_columns",
    "jensen_shannon",
    "kl",
    "ks",
    "psi",
    "psi_band",
    "total_variation",
    "two_samples",
    "wasserstein",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """The measures of F features; NaN where there is nothing to measure (`Note.ALL_NAN`)."""

    kl: NDArray[np.float64]  # F, KL(window || reference) in nats
    wasserstein: NDArray[np.float64]  # F, in the feature's unit
    jensen_shannon: NDArray[np.float64]  # F, the distance, base 2, in 0..1
    psi: NDArray[np.float64]  # F, population stability index
    psi_by_chance: NDArray[np.float64]  # F, what 5 % of undrifted windows of this size exceed
    ks: NDArray[np.float64]  # F, in 0..1
    ks_p_value: NDArray[np.float64]  # F, two-sided
    effect: NDArray[np.float64]  # F, wasserstein over the reference's standard deviation
    effect_iqr: NDArray[np.float64]  # F, wasserstein over the reference's interquartile range
    rows: NDArray[np.int64]  # F, finite values used
    missing: NDArray[np.float64]  # F, share of values that are not finite; NaN without rows
    note: tuple[Note, ...]  # F

    def __len__(self) -> int:
        return len(self.note)


def distances(
    reference: NDArray[Any],
    values: NDArray[Any],
    *,
    reference_rows: int | None = None,
    bins: int = BINS,
    threads: int = 1,
) -> Distances:
    """Compare values [N, F] with the sorted quantiles of a reference [F, Q], of equal weight.

    `reference_rows` is how many rows the quantiles were made from (by default Q): p-values and
    chance depend on it. Raises `ValueError` if the shapes do not fit.
    """
    if reference.ndim != 2 or values.ndim != 2 or len(reference) != values.shape[1]:
        raise ValueError(f"expected F Q and N F, got {reference.shape} and {values.shape}")
    return distances_of_columns(
        reference, list(values.T), reference_rows=reference_rows, bins=bins, threads=threads
    )


def distances_of_columns(
    reference: NDArray[Any],
    columns: Sequence[Column],
    *,
    reference_rows: int | None = None,
    bins: int = BINS,
    threads: int = 1,
) -> Distances:
    """Do as `distances` with F columns; numpy sorts outside the GIL, so threads help."""
    length = reference.shape[1]
    rows = length if reference_rows is None else reference_rows
    pairs = zip(reference, columns, strict=True)
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(measure, row, column, rows, bins) for row, column in pairs]
        measured = [each.result() for each in waiting]
    return join(measured, rows, length)


def join(measured: Sequence[ColumnMeasures], reference_rows: int, quantiles: int) -> Distances:
    """Return the measures of F features as arrays, with what depends on chance.

    Quantiles of more rows than there are of them put the KS statistic off by up to half a
    quantile's weight; its p-value is that of the least it can be.
    """

    def column(name: str) -> NDArray[np.float64]:
        return np.array([getattr(each, name) for each in measured], dtype=np.float64)

    statistic = column("ks")
    rows = np.array([each.rows for each in measured], dtype=np.int64)
    resolution = 1 / (2 * quantiles) if reference_rows > quantiles else 0.0
    chance = psi_by_chance(column("bins"), reference_rows, rows)
    return Distances(
        kl=column("kl"),
        wasserstein=column("wasserstein"),
        jensen_shannon=column("jensen_shannon"),
        psi=column("psi"),
        psi_by_chance=np.where(np.isnan(column("psi")), np.nan, chance),
        ks=statistic,
        ks_p_value=ks_p_value(np.maximum(statistic - resolution, 0.0), rows, reference_rows),
        effect=column("effect"),
        effect_iqr=column("effect_iqr"),
        rows=rows,
        missing=column("missing"),
        note=tuple(each.note for each in measured),
    )


def two_samples(reference: Column, current: Column, bins: int = BINS) -> Distances:
    """Compare two samples [M] and [N] of one feature: distances of one feature, nothing summarised.

    The bins lie at the quantiles of the first one.
    """
    ordered = sorted_finite(reference).astype(np.float64, copy=False)
    if not len(ordered):
        ordered = np.array([np.nan])
    return distances_of_columns(ordered[None], [current], bins=bins)


def kl(reference: Column, current: Column, bins: int = BINS) -> float:
    """Return the Kullback-Leibler divergence KL(current || reference) over the bins, in nats."""
    return float(two_samples(reference, current, bins).kl[0])


def wasserstein(reference: Column, current: Column) -> float:
    """Return the Wasserstein-1 distance of two samples, exactly, in their unit."""
    return float(two_samples(reference, current).wasserstein[0])


def jensen_shannon(reference: Column, current: Column, bins: int = BINS) -> float:
    """Return the Jensen-Shannon distance over the bins, base 2."""
    return float(two_samples(reference, current, bins).jensen_shannon[0])


def psi(reference: Column, current: Column, bins: int = BINS) -> float:
    """Return the population stability index over the bins."""
    return float(two_samples(reference, current, bins).psi[0])


def ks(reference: Column, current: Column) -> Significance:
    """Return the exact Kolmogorov-Smirnov statistic, ties included, and its asymptotic p-value."""
    both = two_samples(reference, current)
    return Significance(float(both.ks[0]), float(both.ks_p_value[0]))
