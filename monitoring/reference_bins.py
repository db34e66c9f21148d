"""Bins that are fixed at quantiles of a reference, so that every window is counted in the same.

A value that makes up a whole bin or more (a clipped pixel, the zero of a ReLU) is a bin of its own:
rows that leave it to either side are seen. There is always room below the smallest and above the
largest value of the reference.

    Q quantiles, B bins, B - 1 cuts
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10


@dataclass(frozen=True, slots=True)
class Bins:
    """Cuts in order: a value lies below a cut if it is less, or, with `inclusive`, equal to it."""

    cuts: NDArray[np.float64]  # B - 1
    inclusive: NDArray[np.bool_]  # B - 1

    def __len__(self) -> int:
        return len(self.cuts) + 1

    def counts(self, ordered: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many of these sorted finite values lie in each bin, [B]."""
        below = np.where(
            self.inclusive,
            np.searchsorted(ordered, self.cuts, side="right"),
            np.searchsorted(ordered, self.cuts, side="left"),
        )
        return np.diff(below, prepend=0, append=len(ordered))


def bins_of(quantiles: NDArray[np.float64], bins: int = BINS) -> Bins:
    """Return bins of about equal shares of a reference, given as sorted values of equal weight.

    There are `bins` of them; fewer, or up to twice as many, if some values occur often.
    """
    length = len(quantiles)
    last = np.arange(1, bins) * length // bins - 1
    last = last[last >= 0]
    if not len(last):
        last = np.array([length - 1])
    edges = np.unique(_between(quantiles[last], quantiles[np.minimum(last + 1, length - 1)]))
    often = np.searchsorted(quantiles, edges, "right") - np.searchsorted(quantiles, edges, "left")
    single = often * bins >= length
    # A cut before a frequent value excludes it; the cut after any edge includes it.
    cuts = np.concatenate([edges[single], edges])
    inclusive = np.concatenate([np.zeros(int(single.sum()), bool), np.ones(len(edges), bool)])
    order = np.lexsort((inclusive, cuts))
    return Bins(cuts[order], inclusive[order])


def _between(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cuts halfway: the share of rows below is right even where quantiles stand for more.

    Where both are equal, or no number lies between them, it is the lower one.
    """
    middle = lower + (upper - lower) / 2
    return np.where(middle < upper, middle, lower)
