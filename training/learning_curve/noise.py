"""How far a measured mean error may lie from what an endless number of trainings would show.

Two parts. Trainings of one size differ; their deviation, as a share of the error, is pooled over
all sizes. And the test images are a sample of T, the same at every size. How much of that second
part two sizes share cannot be told from accuracies: everything, if the better network errs only
where the worse one does, or nothing. So one half of the draws takes each.
"""

# S sizes, L draws, R trainings a size, T test images

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from training.learning_curve.curve import Curve
from training.learning_curve.power_law import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """`relative` is the variance between trainings over error², known with `freedom` degrees.

    `excess` (1 or more) enlarges both parts, where a law misses by more than they explain.
    """

    relative: float
    freedom: int
    repeats: int
    images: int
    excess: float = 1.0

    @classmethod
    def of(cls, curve: Curve) -> Self:
        """Pool the noise of a curve; an error of 0 counts as half an image's."""
        sizes, repeats = curve.errors.shape
        least = 0.5 / (curve.images * repeats)
        relative = (curve.deviation / np.maximum(curve.mean, least)) ** 2
        return cls(
            relative=float(relative.mean()),
            freedom=sizes * (repeats - 1),
            repeats=repeats,
            images=curve.images,
        )

    def variance(self, errors: Floats) -> Floats:
        """Return the variance of a mean error, where the error is one of `errors` (S)."""
        errors = self.shown(errors)
        trained = self.relative * errors**2 / self.repeats
        variance: Floats = self.excess * (trained + errors * (1 - errors) / self.images)
        return variance

    def shown(self, errors: Floats) -> Floats:
        """Return errors of which the test images can show at least half of one."""
        least = 0.5 / self.images
        return np.clip(errors, least, 1 - least)

    def draw(self, errors: Floats, count: int, generator: np.random.Generator) -> Floats:
        """Return `count` draws of what would be measured where `errors` (S) are true: L S."""
        errors = self.shown(errors)
        relative = self.relative * self.freedom / generator.chisquare(self.freedom, (count, 1))
        trained = generator.standard_normal((count, len(errors))) * errors
        apart = generator.standard_normal((count, len(errors))) * np.sqrt(errors * (1 - errors))
        shared = np.arange(count)[:, None] % 2 == 0
        tested = np.where(shared, _bridge(errors, count, generator), apart)
        noise = trained * np.sqrt(relative / self.repeats) + tested / np.sqrt(self.images)
        drawn: Floats = np.clip(errors + np.sqrt(self.excess) * noise, 0, 1)
        return drawn


def _bridge(errors: Floats, count: int, generator: np.random.Generator) -> Floats:
    """Return draws of √T · (share of T uniform numbers below each error - the error): L S.

    For many T that is a Brownian bridge (Donsker 1952): the same numbers serve every error.
    """
    order = np.argsort(errors)
    steps = np.diff(errors[order], prepend=0.0, append=1.0)
    walk = np.cumsum(generator.standard_normal((count, len(steps))) * np.sqrt(steps), axis=1)
    bridge = np.empty((count, len(errors)))
    bridge[:, order] = walk[:, :-1] - errors[order] * walk[:, -1:]
    return bridge
