"""error(n) = a · n^-b + c, fitted by weighted least squares (Cortes et al. 1993).

Hestness et al. 2017 and Rosenfeld et al. 2020 found this form over orders of magnitude of n;
Viering and Loog 2022 collect where it fails. For a given b the best a and c, neither below 0, have
a closed form, so a search over b alone finds the best law, for many curves at once.
"""

# S sizes, L laws fitted side by side, G candidates for b

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LOWEST_B, HIGHEST_B = 0.02, 2.0
"""Bounds of b: next to no rise, and more than was ever measured."""
_GRID, _ROUNDS = 21, 5
"""Candidates a round, each round between the neighbours of the last one's best: b to 2e-5 of it."""


@dataclass(frozen=True, slots=True)
class PowerLaws:
    """L laws with parameters of shape L; none rises with n, for a, b and c are not below 0."""

    a: Floats
    b: Floats
    c: Floats

    def errors(self, sizes: Floats) -> Floats:
        """Return the error, as a share of 1, at each size: L S."""
        powers: Floats = np.asarray(sizes, np.float64)[None, :] ** -self.b[:, None]
        return self.a[:, None] * powers + self.c[:, None]


def fit(sizes: Floats, errors: Floats, weights: Floats, *, floor: bool = True) -> PowerLaws:
    """Fit a law to each row of `errors` (L S) measured at `sizes` (S); `weights` are 1 / variance.

    Without `floor`, c is 0.
    """
    middle = np.exp(np.log(sizes).mean())
    width = np.sqrt(HIGHEST_B / LOWEST_B)
    b = np.full((len(errors), 1), np.sqrt(HIGHEST_B * LOWEST_B))
    for _ in range(_ROUNDS):
        candidates = np.clip(b * np.geomspace(1 / width, width, _GRID), LOWEST_B, HIGHEST_B)
        _, _, loss = _linear(sizes / middle, errors, weights, candidates, floor)
        b = np.take_along_axis(candidates, loss.argmin(1)[:, None], 1)
        width **= 2 / (_GRID - 1)
    a, c, _ = _linear(sizes / middle, errors, weights, b, floor)
    return PowerLaws((a * middle**b)[:, 0], b[:, 0], c[:, 0])


def _linear(
    sizes: Floats, errors: Floats, weights: Floats, b: Floats, floor: bool
) -> tuple[Floats, Floats, Floats]:
    """Return the best a and c, neither below 0, and their loss for each candidate b: L G each."""
    x = sizes ** -b[:, :, None]  # L G S
    total, sum_y = weights.sum(), (errors @ weights)[:, None]
    sum_x, sum_xx = x @ weights, (x * x) @ weights
    sum_xy = np.einsum("lgs,ls->lg", x, errors * weights)
    determinant = total * sum_xx - sum_x**2
    c = (sum_y * sum_xx - sum_x * sum_xy) / determinant if floor else np.full(b.shape, -1.0)
    a = np.where(c < 0, sum_xy / sum_xx, (total * sum_xy - sum_x * sum_y) / determinant)
    c = np.where(a < 0, sum_y / total, np.maximum(c, 0))
    a = np.maximum(a, 0)
    misses = errors[:, None, :] - a[:, :, None] * x - c[:, :, None]
    return a, c, (misses * misses) @ weights
