"""Subsets that grow: each holds the smaller ones, every class, and classes in their proportion."""

# N training images, K classes

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from torchkeep.data.shuffle import shuffled
from torchkeep.errors import DataError, SettingsError

FEWEST_SIZES, SIZES = 5, 7
"""A law has three parameters and one size is held out, so five sizes are the fewest."""
PER_CLASS = 10
"""Labels of a class in the smallest subset, where sizes are not given."""
SPAN = 64
"""The largest subset over the smallest, where sizes are not given."""


def growing_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return all indices (N) in an order whose first n are the subset of size n, for any n >= K.

    One image of each class comes first; after that an image comes the sooner, the smaller its rank
    within its class is, as a share of the class.
    """
    order = shuffled(len(labels), seed)
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    position = np.empty(len(labels))
    position[by_class] = np.where(rank == 0, -1.0, (rank + 0.5) / np.repeat(counts, counts))
    return order[np.argsort(position[order], kind="stable")]


def default_sizes(labels: NDArray[np.int64]) -> tuple[int, ...]:
    """Return sizes that grow by a factor, up to all N images.

    Raises `DataError` if there are too few images or fewer than two classes.
    """
    total, classes = len(labels), len(np.unique(labels))
    smallest = max(PER_CLASS * classes, total // SPAN)
    sizes = np.unique(np.rint(np.geomspace(smallest, max(total, smallest), SIZES)).astype(int))
    if classes < 2 or total < 2 * smallest or len(sizes) < FEWEST_SIZES:
        raise DataError(
            "training images",
            f"{total} images of {classes} class(es)",
            f"two classes or more, and {2 * PER_CLASS} images of each",
        )
    return tuple(sizes.tolist())


def check_sizes(sizes: Sequence[int], labels: NDArray[np.int64]) -> None:
    """Raise `SettingsError` or `DataError` unless subsets of these sizes make a curve."""
    classes = len(np.unique(labels))
    if classes < 2:
        raise DataError("training images", "a single class", "two classes or more")
    if len(sizes) < FEWEST_SIZES:
        raise SettingsError(
            f"{len(sizes)} sizes do not determine a curve", remedy=f"Give {FEWEST_SIZES} or more."
        )
    if any(after <= before for before, after in pairwise(sizes)):
        raise SettingsError("the sizes do not grow", remedy="Give them from small to large.")
    if sizes[-1] > len(labels):
        raise SettingsError(
            f"there are {len(labels):,} training images, and not {sizes[-1]:,}",
            remedy="Give smaller sizes.",
        )
    if sizes[0] < classes:
        raise SettingsError(
            f"{sizes[0]} labels cannot hold each of {classes} classes", remedy="Give larger sizes."
        )
