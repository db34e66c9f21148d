"""Evidence drawn by a seed, in which what is poisoned is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.poisoning.evidence import Evidence
from robustness.poisoning.neighbours import Neighbours

CLASSES = ("a", "b", "c", "d")
FEATURES = 20
NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class Drawn:
    """Evidence, and which of its samples are poisoned (N)."""

    evidence: Evidence
    poisoned: NDArray[np.bool_]


def draw(per_class: int = 200, poisoned: int = 0, seed: int = 0) -> Drawn:
    """Return four Gaussian classes; `poisoned` more samples of class 0 that show another class.

    Their features lie together, apart from class 0; their neighbours are those of what they show.
    """
    random = np.random.default_rng(seed)
    shown = np.repeat(np.arange(len(CLASSES)), per_class)
    shown = np.concatenate([shown, random.integers(1, len(CLASSES), poisoned)])
    is_poisoned = np.arange(len(shown)) >= len(shown) - poisoned
    labels = np.where(is_poisoned, 0, shown)
    centres = 6 * random.standard_normal((len(CLASSES) + 1, FEATURES))
    features = centres[np.where(is_poisoned, len(CLASSES), labels)]
    features = (features + random.standard_normal(features.shape)).astype(np.float32)
    held_out = np.full((len(labels), len(CLASSES)), 0.01, np.float32)
    held_out[np.arange(len(labels)), labels] = 0.97
    places = np.stack(
        [random.choice(np.flatnonzero(shown == label), NEIGHBOURS) for label in shown]
    )
    neighbours = Neighbours(places, labels)
    return Drawn(Evidence(labels, CLASSES, features, held_out, neighbours), is_poisoned)
