"""Probabilities as they are logged, most probable first, and back in the order of the classes.

Up to `MAX_LOGGED_CLASSES` classes all are logged; beyond, the `TOP_K` largest, and what they leave
of 1 is spread evenly over the classes that were not logged. A reference is made of the same form,
so that it has no detail that a window lacks.

    N items, T classes logged of each, L labels logged of all items together, K classes
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from torchkeep.schema import MAX_LOGGED_CLASSES, TOP_K


class Ranked(NamedTuple):
    """The logged part of probabilities, most probable first."""

    classes: NDArray[np.int32]  # N T, class indices
    probabilities: NDArray[np.float32]  # N T


def logged_classes(classes: int) -> int:
    """Return T, how many of the probabilities of a model of so many classes are logged."""
    return classes if classes <= MAX_LOGGED_CLASSES else TOP_K


def ranked(probabilities: NDArray[np.float32]) -> Ranked:
    """Return what a handler logs of probabilities N K."""
    keep = logged_classes(probabilities.shape[1])
    order = (-probabilities).argsort(axis=1, kind="stable")[:, :keep]
    return Ranked(order.astype(np.int32), np.take_along_axis(probabilities, order, axis=1))


def unranked(logged: Ranked, classes: int) -> NDArray[np.float32]:
    """Return probabilities N K in class order of what was logged of each."""
    items, width = logged.classes.shape
    rows = np.repeat(np.arange(items), width)
    flat = logged.probabilities.ravel()
    return in_class_order(rows, logged.classes.ravel(), flat, items, classes)


def in_class_order(
    rows: NDArray[np.integer],
    classes: NDArray[np.integer],
    probabilities: NDArray[np.float32],
    items: int,
    count: int,
) -> NDArray[np.float32]:
    """Return probabilities N K of L logged ones: of item `rows[l]`, for class `classes[l]`.

    An item of which nothing was logged gets NaN. Indices must lie within `items` and `count`.
    """
    named = np.zeros((items, count), np.bool_)
    named[rows, classes] = True
    told = named.sum(axis=1)
    left = 1 - np.bincount(rows, weights=probabilities, minlength=items)
    share = np.where(told > 0, left.clip(0) / np.maximum(count - told, 1), np.nan)
    table = np.repeat(share.astype(np.float32)[:, None], count, axis=1)
    table[rows, classes] = probabilities
    return table
