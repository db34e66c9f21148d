"""The nearest neighbours of each image among the others, by what the pixels show.

Labels take no part, so a poisoned image lies among those of the class it really shows. Distances
are between projections on the images' principal components; they are computed in blocks, so no
N × N matrix is ever there.
"""

# N images, R reference images, D projected dimensions, B rows of a block, M neighbours

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

COMPONENTS = 50
FITTED_ON = 10_000
REFERENCES = 100_000
BLOCK_VALUES = 2**24
"""Distances held at once: 64 MiB of them."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The places of each image's neighbours (N M), nearest first, and all labels (N)."""

    places: NDArray[np.int64]
    labels: NDArray[np.int64]

    def share(self, asked: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the share of each image's neighbours that carry the label asked of it: N."""
        same = self.labels[self.places] == asked[:, None]
        return np.asarray(same.mean(1, dtype=np.float32))


def find_neighbours(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    count: int,
    seed: int,
    progress: Progress,
) -> Neighbours:
    """Find the `count` nearest others of each image (N C H W, uint8).

    Beyond `REFERENCES` images the neighbours are sought in a random sample of that many.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    projected = _project(images, order[:FITTED_ON])
    reference = np.sort(order[:REFERENCES])
    targets = projected[torch.from_numpy(reference)]
    squares = targets.square().sum(1)
    count = min(count, len(reference) - 1)
    found = np.empty((len(images), count), np.int64)
    rows = max(1, BLOCK_VALUES // len(reference))
    for start in range(0, len(images), rows):
        progress("find neighbours", start, len(images))
        block = projected[start : start + rows]
        distances = squares - 2 * block @ targets.T  # the row's own square moves all alike
        _hide_self(distances, reference, start)
        nearest = distances.topk(count, largest=False).indices.numpy()
        found[start : start + rows] = reference[nearest]
    progress("find neighbours", len(images), len(images))
    return Neighbours(found, labels)


def _project(images: NDArray[np.uint8], fitted_on: NDArray[np.int64]) -> Tensor:
    """Return the images' projections on the principal components of some of them: N D."""
    some = torch.from_numpy(images[fitted_on]).flatten(1).float().div_(255)
    mean = some.mean(0)
    some -= mean
    covariance = some.T @ some / len(some)
    components = torch.linalg.eigh(covariance).eigenvectors[:, -COMPONENTS:]
    blocks = [
        (torch.from_numpy(images[start : start + FITTED_ON]).flatten(1).float() / 255 - mean)
        @ components
        for start in range(0, len(images), FITTED_ON)
    ]
    return torch.cat(blocks)


def _hide_self(distances: Tensor, reference: NDArray[np.int64], start: int) -> None:
    """Put every image that is among the references infinitely far from itself: B R in place."""
    first, last = np.searchsorted(reference, (start, start + len(distances)))
    columns = torch.arange(first, last)
    distances[torch.from_numpy(reference[first:last]) - start, columns] = torch.inf
