"""A law fitted to a curve, and how far others that the data allow lie from it.

A parametric bootstrap: curves are drawn from the fitted law with the noise of the measured one, and
a law is fitted to each. Where the data do not tell whether there is a floor (c above 0), laws
without one are drawn, too, and an interval holds what either kind gives.
"""

# S sizes, L laws

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from training.learning_curve.curve import Curve
from training.learning_curve.noise import Noise
from training.learning_curve.power_law import Floats, PowerLaws, fit

SHARE = 0.90
"""Of intervals: the share of them that hold the truth."""
PARAMETERS = 3
DRAWS = 1000
_REWEIGHTED = 3
_FLOOR_DOUBTED = float(stats.chi2.ppf(SHARE, 1))
"""A floor that betters χ² by less than this may not be there."""


class Interval(NamedTuple):
    """An estimate and the edges of its interval, `SHARE` wide."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Extrapolation:
    """The best law, the laws that others' noise would have given, and the noise.

    `fits` is the probability of a misfit as large as this one if the law is right.
    """

    law: PowerLaws
    others: tuple[PowerLaws, ...]
    noise: Noise
    fits: float
    seed: int

    def accuracy(self, size: float) -> Interval:
        """Return the accuracy to be expected of a training on `size` labels."""
        return self._interval(lambda laws: 1 - laws.errors(np.array([size]))[:, 0])

    def gain(self, size: float, more: float) -> Interval:
        """Return by how much `more` labels raise the accuracy, never below 0."""

        def gains(laws: PowerLaws) -> Floats:
            errors = laws.errors(np.array([size, size + more]))
            return errors[:, 0] - errors[:, 1]

        return self._interval(gains)

    def measurement(self, size: float, share: float = SHARE) -> Interval:
        """Return the mean accuracy to be measured at `size`, by as many trainings and images."""
        error = self.law.errors(np.array([size]))[0]
        generator = np.random.default_rng(self.seed)
        noise = (self.noise.draw(error, DRAWS, generator) - error)[:, 0]
        found = self._interval(lambda laws: 1 - laws.errors(np.array([size]))[:, 0], share, noise)
        return Interval(*np.clip(found, 0, 1).tolist())

    def parameter(self, name: str) -> Interval:
        """Return one of a, b, c."""
        return self._interval(lambda laws: getattr(laws, name))

    def _interval(
        self,
        value: Callable[[PowerLaws], Floats],
        share: float = SHARE,
        noise: Floats | float = 0.0,
    ) -> Interval:
        """Return the law's value, and the edges within which those of the others lie."""
        estimate = float(value(self.law)[0])
        edges = ((1 - share) / 2, (1 + share) / 2)
        found = [np.quantile(value(laws) + noise, edges) for laws in self.others]
        low = min(estimate, *(float(low) for low, _ in found))
        high = max(estimate, *(float(high) for _, high in found))
        return Interval(estimate, low, high)


def extrapolate(curve: Curve, seed: int) -> Extrapolation:
    """Fit a law to a curve of more than three sizes, and draw what else the data allow."""
    noise = Noise.of(curve)
    weights = 1 / noise.variance(curve.mean)
    for _ in range(_REWEIGHTED):
        law = fit(curve.sizes, curve.mean[None], weights)
        weights = 1 / noise.variance(law.errors(curve.sizes)[0])
    freedom = len(curve.sizes) - PARAMETERS
    misfit = _misfit(law, curve, weights)
    noise = replace(noise, excess=max(1.0, misfit / freedom))
    generator = np.random.default_rng(seed)

    def drawn(parent: PowerLaws, floor: bool) -> PowerLaws:
        errors = noise.draw(parent.errors(curve.sizes)[0], DRAWS, generator)
        return fit(curve.sizes, errors, weights, floor=floor)

    others = [drawn(law, floor=True)]
    bare = fit(curve.sizes, curve.mean[None], weights, floor=False)
    if _misfit(bare, curve, weights) - misfit < _FLOOR_DOUBTED * noise.excess:
        others.append(drawn(bare, floor=False))
    return Extrapolation(
        law=law,
        others=tuple(others),
        noise=noise,
        fits=float(stats.chi2.sf(misfit, freedom)),
        seed=seed,
    )


def _misfit(law: PowerLaws, curve: Curve, weights: Floats) -> float:
    """Return χ²: squared misses in units of their variance."""
    return float((weights * (curve.mean - law.errors(curve.sizes)[0]) ** 2).sum())
