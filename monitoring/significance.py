"""Tests of counts, and what many tests at once mean.

K classes, F features
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEAST_EXPECTED = 5.0
"""Rows a cell must be expected to have for the chi-square law to hold (Cochran 1954)."""


class Significance(NamedTuple):
    """A statistic and its p-value; both NaN if there is nothing to test."""

    statistic: float
    p_value: float


def chi_square(counts_reference: NDArray[Any], counts_current: NDArray[Any]) -> Significance:
    """Test whether two rows of counts [K] come from the same shares.

    Pearson's chi-square of the 2 x K table. Classes too rare for it are counted as one; where that
    leaves a 2 x 2 table with a rare cell, the p-value is Fisher's exact one. A row without counts
    gives NaN; a single class gives 0 and 1. Raises `ValueError` if the rows differ in length
    or a count is negative.
    """
    table = np.stack([np.asarray(counts_reference), np.asarray(counts_current)]).astype(np.float64)
    if table.ndim != 2 or (table < 0).any():
        raise ValueError("expected two rows of counts")
    totals = table.sum(axis=1)
    if not totals.all():
        return Significance(np.nan, np.nan)
    merged = _rare_as_one(table)
    if merged.shape[1] == 1:
        return Significance(0.0, 1.0)
    result = stats.chi2_contingency(merged, correction=False)
    if result.expected_freq.min() >= LEAST_EXPECTED:
        return Significance(float(result.statistic), float(result.pvalue))
    return Significance(
        float(result.statistic), float(stats.fisher_exact(merged.astype(np.int64)).pvalue)
    )


def benjamini_hochberg(p_values: NDArray[Any]) -> NDArray[np.float64]:
    """Return adjusted p-values [F]: rejecting those up to q keeps the false discovery rate at q.

    Benjamini and Hochberg 1995. NaN stays NaN and does not count as a test.
    """
    given = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(given)
    adjusted = np.full(given.shape, np.nan)
    if tested.any():
        adjusted[tested] = stats.false_discovery_control(given[tested], method="bh")
    return adjusted


def _rare_as_one(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the table with its rarest classes added up until every cell expects enough.

    At least two classes are left of two or more; classes that never occur are dropped.
    """
    columns = table[:, table.sum(axis=0) > 0]
    columns = columns[:, np.argsort(columns.sum(axis=0), kind="stable")]
    smaller = columns.sum(axis=1).min() / columns.sum()
    expected = columns.sum(axis=0) * smaller
    if expected[0] >= LEAST_EXPECTED or columns.shape[1] <= 2:
        return columns
    rare = int((expected < LEAST_EXPECTED).sum())  # together they may still be too rare
    enough = int((np.cumsum(expected) < LEAST_EXPECTED).sum()) + 1
    joined = min(max(rare, enough), columns.shape[1] - 1)
    return np.column_stack([columns[:, :joined].sum(axis=1), columns[:, joined:]])
