"""What was measured: the error of several trainings at each size."""

# S sizes, R trainings a size, T test images

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from training.learning_curve.power_law import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One training: on how many labels, which repeat, and its accuracy on `images` test images."""

    size: int
    repeat: int
    accuracy: float
    images: int


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Errors (S R, shares of 1) at growing sizes (S), all measured on the same `images`."""

    sizes: Floats
    errors: Floats
    images: int

    def __post_init__(self) -> None:
        shape = (len(self.sizes), *self.errors.shape[1:])
        if self.errors.shape != shape or self.errors.ndim != 2 or self.errors.shape[1] < 2:
            raise ValueError("a curve needs two trainings or more at every size")
        if (np.diff(self.sizes) <= 0).any():
            raise ValueError("the sizes of a curve must grow")

    @classmethod
    def of(cls, points: Sequence[Point]) -> Self:
        """Return the curve of a complete set of points. Raises `ValueError` if one is missing."""
        sizes = sorted({point.size for point in points})
        rows = [[1 - point.accuracy for point in points if point.size == size] for size in sizes]
        if len({len(row) for row in rows}) != 1 or len({point.images for point in points}) != 1:
            raise ValueError("a curve needs as many trainings, and the same images, at every size")
        return cls(np.asarray(sizes, np.float64), np.asarray(rows), points[0].images)

    @property
    def mean(self) -> Floats:
        """The mean error of each size: S."""
        mean: Floats = self.errors.mean(1)
        return mean

    @property
    def deviation(self) -> Floats:
        """The standard deviation between the trainings of each size: S."""
        deviation: Floats = self.errors.std(1, ddof=1)
        return deviation

    @property
    def repeats(self) -> int:
        return len(self.errors[0])

    def without_last(self, count: int) -> Self:
        """Return the curve without its `count` largest sizes."""
        return type(self)(self.sizes[:-count], self.errors[:-count], self.images)
