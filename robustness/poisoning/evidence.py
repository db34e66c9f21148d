"""What detectors of poison look at, gathered once for all of them.

Shapes: N samples, K classes, F penultimate features, M members of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from robustness.poisoning.neighbours import Neighbours
from torchkeep.architectures import Classifier
from torchkeep.data import ImageSet

BATCH = 1000

Floats = NDArray[np.float32]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Learn(Protocol):
    """Train a network on some images; `step` names it to whoever watches the progress."""

    def __call__(self, images: ImageSet, *, seed: int, step: str) -> Classifier: ...


class Progress(Protocol):
    """What long work calls with a step's name, how much of it is done, and how much there is."""

    def __call__(self, step: str, done: int, total: int, /) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The suspect samples and what two kinds of network and their neighbours say of them.

    `features` are of a network trained on all samples; `held_out` are the probabilities that a
    network gives which was trained without the sample (and half of the others).
    """

    labels: NDArray[np.int64]  # N
    classes: tuple[str, ...]  # K
    features: Floats  # N F
    held_out: Floats  # N K
    neighbours: Neighbours

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def agreement(self) -> Floats:
        """Share of each sample's neighbours that carry its label: N."""
        return self.neighbours.share(self.labels)

    @property
    def held_out_own(self) -> Floats:
        """Held-out probability of each sample's own label: N."""
        return own(self.held_out, self.labels)

    def of_class(self, label: int) -> Places:
        """Return the places of the samples with a label."""
        return np.flatnonzero(self.labels == label)


def own(probabilities: Floats, labels: NDArray[np.int64]) -> Floats:
    """Return each row's value at its label: N K and N to N."""
    picked: Floats = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    return picked


def best_other(
    probabilities: Floats, labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Floats]:
    """Return, row by row, the likeliest class that is not the label, and its probability."""
    others = probabilities.copy()
    np.put_along_axis(others, labels[:, None], -1.0, axis=1)
    best = others.argmax(1)
    return best, own(others, best)


@torch.no_grad()
def look(classifier: Classifier, images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return penultimate features (N F) and probabilities (N K) of uint8 images, in batches."""
    device = classifier.head.weight.device
    features, probabilities = [], []
    for start in range(0, len(images), BATCH):
        pixels = torch.from_numpy(images[start : start + BATCH]).to(device).float().div_(255)
        hidden = classifier.features(pixels)
        features.append(hidden.cpu())
        probabilities.append(classifier.head(hidden).softmax(1).cpu())
    return torch.cat(features).numpy(), torch.cat(probabilities).numpy()
