"""Curves of known laws, measured with noise that is drawn from a seed."""

# S sizes, R trainings a size

from __future__ import annotations

import numpy as np

from training.learning_curve.curve import Curve
from training.learning_curve.power_law import Floats, PowerLaws

SIZES = np.array([500.0, 1000, 2000, 4000, 8000, 16_000, 32_000])
LAWS = {
    "steep, with a floor": (1.5, 0.5, 0.005),
    "no floor": (1.0, 0.45, 0.0),
    "high floor": (2.0, 0.6, 0.05),
    "slow": (0.8, 0.2, 0.0),
    "far from its floor": (1.2, 0.35, 0.1),
}


def law(a: float, b: float, c: float) -> PowerLaws:
    return PowerLaws(np.array([a]), np.array([b]), np.array([c]))


def measured(
    truth: PowerLaws | Floats,
    generator: np.random.Generator,
    *,
    sizes: Floats = SIZES,
    repeats: int = 3,
    images: int = 10_000,
    deviation: float = 0.05,
    shared: bool = False,
) -> Curve:
    """Return a curve whose trainings deviate by a share of the error, on `images` test images.

    `shared`: one set of images that differ in difficulty; else each size meets images of its own.
    """
    errors = truth.errors(sizes)[0] if isinstance(truth, PowerLaws) else truth
    trained = errors[:, None] * (
        1 + deviation * generator.standard_normal((len(errors), repeats))
    ).clip(0)
    if shared:
        difficulty = np.sort(generator.random(images))
        return Curve(sizes, np.searchsorted(difficulty, trained) / images, images)
    tested = generator.binomial(images, errors) / images - errors
    return Curve(sizes, (trained + tested[:, None]).clip(0, 1), images)
