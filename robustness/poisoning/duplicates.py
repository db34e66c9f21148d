"""The same image twice: exact copies by their hash, near copies among the nearest neighbours.

Copies with one label are told and left alone: a data set may have them, and they teach nothing
wrong. Copies with different labels contradict each other.
"""

# N samples, C H W an image

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.poisoning.neighbours import Neighbours

CANDIDATES = 3
"""Nearest neighbours that are compared pixel by pixel."""
NEAR = 0.004
"""Mean difference a pixel, as a share of the range, up to which two images are near copies.

About one level in 255: what encoding anew or a mark of a few pixels does.
"""
BLOCK = 4096

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """The first place at which each image, or one near to it, was met: N; its own if nowhere.

    `exact` counts the images that repeat an earlier one byte for byte, `near` the others.
    """

    first: Places
    labels: NDArray[np.int64]
    exact: int
    near: int

    @property
    def conflicting(self) -> NDArray[np.bool_]:
        """Say which images have a copy with another label: N."""
        lowest, highest = self.labels.copy(), self.labels.copy()
        np.minimum.at(lowest, self.first, self.labels)
        np.maximum.at(highest, self.first, self.labels)
        return np.asarray(lowest[self.first] != highest[self.first])


def find_duplicates(
    images: NDArray[np.uint8], labels: NDArray[np.int64], neighbours: Neighbours
) -> Duplicates:
    """Find exact and near copies among images (N C H W)."""
    first = _first_of_hash(images)
    exact = int((first != np.arange(len(first))).sum())
    for one, two in _near_pairs(images, neighbours):
        low, high = sorted((int(first[one]), int(first[two])))
        if low != high:
            first[first == high] = low
    near = int((first != np.arange(len(first))).sum()) - exact
    return Duplicates(first, labels, exact, near)


def _first_of_hash(images: NDArray[np.uint8]) -> Places:
    seen: dict[bytes, int] = {}
    hashes = (hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images)
    return np.array([seen.setdefault(key, place) for place, key in enumerate(hashes)], np.int64)


def _near_pairs(images: NDArray[np.uint8], neighbours: Neighbours) -> list[tuple[int, int]]:
    flat = images.reshape(len(images), -1)
    pairs = []
    for start in range(0, len(flat), BLOCK):
        here = flat[start : start + BLOCK].astype(np.int16)
        for other in neighbours.places[start : start + BLOCK, :CANDIDATES].T:
            apart = np.abs(here - flat[other]).mean(1) / 255
            close = np.flatnonzero((apart > 0) & (apart <= NEAR))
            pairs += [(start + int(at), int(other[at])) for at in close]
    return pairs
