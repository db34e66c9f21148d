"""Accuracy without labels: what the model's confidence says once it is calibrated.

Two estimates, both fitted on the reference sample, whose labels are known:

- *calibrated confidence*: isotonic regression turns confidence into the probability of being right
  (Zadrozny and Elkan 2002); its mean over the window is the estimate.
- *average thresholded confidence*: the share of items whose confidence is at least a threshold, set
  so that on the sample this share is the accuracy (Garg et al. 2022).

Both take for granted that an item of a given confidence is right as often as in the sample. A shift
that makes the model wrong and sure of itself is what they cannot see.

    M reference sample, N items
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from monitoring.reference import Reference

LEAST_SAMPLE = 100
"""With a smaller reference sample nothing is estimated."""
KNOWN_FROM = 0.0025
"""Of confidences below this quantile of the sample nothing is known."""
_REPEATS = 200
_CONDENSED = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceModel:
    """What the reference sample says of how often the model is right at a given confidence."""

    isotonic: IsotonicRegression
    atc_threshold: float
    confidence: NDArray[np.float64]  # M, only finite ones
    right: NDArray[np.bool_]  # M

    @property
    def accuracy(self) -> float:
        """Accuracy on the reference sample."""
        return float(self.right.mean())

    def probability_right(self, confidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the calibrated probability, N, that each item was predicted rightly."""
        return np.asarray(self.isotonic.predict(confidence), dtype=np.float64)

    def atc(self, confidence: NDArray[np.float64]) -> float:
        """Return the estimate of average thresholded confidence over N > 0 items."""
        return float((confidence >= self.atc_threshold).mean())

    def unsupported(self, confidence: NDArray[np.float64]) -> float:
        """Return the share of N > 0 items that are less sure than nearly all of the sample."""
        least = np.quantile(self.confidence, KNOWN_FROM, method="lower")
        return float((confidence < least).mean())

    def interval(self, confidence: NDArray[np.float64], *, seed: int = 0) -> tuple[float, float]:
        """Return the 95 % interval of mean calibrated confidence over N > 0 items.

        A percentile bootstrap over the reference sample; the chance of the N items is added as
        normal noise. Long columns are condensed to their quantiles.
        """
        random = np.random.default_rng(seed)
        spread = float(self.probability_right(confidence).std()) / np.sqrt(len(confidence))
        grid = _condensed(confidence)
        means = [
            float(_fit(self.confidence[rows], self.right[rows]).predict(grid).mean())
            for rows in random.integers(len(self.right), size=(_REPEATS, len(self.right)))
        ]
        noisy = np.array(means) + random.normal(0.0, spread, _REPEATS)
        low, high = np.clip(np.quantile(noisy, [0.025, 0.975]), 0.0, 1.0)
        return float(low), float(high)


def fit_confidence(reference: Reference) -> ConfidenceModel | None:
    """Fit both estimates on the reference sample; None if it has too few usable rows."""
    confidence = confidence_of(reference.probabilities, reference.predicted)
    usable = np.isfinite(confidence)
    if usable.sum() < LEAST_SAMPLE:
        return None
    confidence = confidence[usable]
    right = (reference.predicted == reference.labels)[usable]
    return ConfidenceModel(
        isotonic=_fit(confidence, right),
        atc_threshold=_threshold(confidence, int((~right).sum())),
        confidence=confidence,
        right=right,
    )


def confidence_of(
    probabilities: NDArray[np.float32], predicted: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the probability N of each predicted class; NaN where there is none within 0..1."""
    if not probabilities.size:
        return np.full(len(probabilities), np.nan)
    chosen = probabilities[np.arange(len(probabilities)), np.maximum(predicted, 0)]
    usable = (predicted >= 0) & (chosen >= 0) & (chosen <= 1 + 1e-4)
    return np.where(usable, chosen, np.nan).astype(np.float64)


def _fit(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> IsotonicRegression:
    isotonic = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    return isotonic.fit(confidence, right.astype(np.float64))


def _threshold(confidence: NDArray[np.float64], errors: int) -> float:
    """The value below which lie as many of the sample as there are errors in it."""
    return float(np.sort(confidence)[errors]) if errors < len(confidence) else np.inf


def _condensed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(values) <= _CONDENSED:
        return values
    return np.quantile(values, (np.arange(_CONDENSED) + 0.5) / _CONDENSED)
