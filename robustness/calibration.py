"""Conformal p-values and a threshold whose false-positive rate is bounded, not hoped for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from torchkeep.errors import SettingsError


def conformal_p_values(scores: Tensor, calibration: Tensor) -> Tensor:
    """Return (1 + #{calibration ≥ score}) / (1 + n) (Vovk et al. 2005, section 2.2).

    `scores` is S B, `calibration` S n, ascending along n; the result is S B, in (0, 1].
    """
    total = calibration.shape[-1]
    below = torch.searchsorted(calibration, scores)
    return (total + 1 - below) / (total + 1)


def clopper_pearson_upper(successes: int, trials: int, confidence: float = 0.95) -> float:
    """Return the one-sided upper confidence bound of a proportion (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    if successes >= trials:
        return 1.0
    return float(beta.ppf(confidence, successes + 1, trials - successes))


def allowed_exceedances(trials: int, target: float, confidence: float = 0.95) -> int:
    """Return the largest number of false alarms on `trials` images that proves the target rate.

    Raises `SettingsError` if not even zero false alarms would: too few images.
    """
    if not 0 < target < 1:
        raise SettingsError(
            f"a false-positive rate of {target}", remedy="Give one between 0 and 1."
        )
    needed = images_needed(target, confidence)
    if trials < needed:
        raise SettingsError(
            f"{trials} calibration images cannot show a false-positive rate of {target:g}",
            remedy=f"Give {needed} or more, or a higher target rate.",
        )
    low, high = 0, trials
    while high - low > 1:
        middle = (low + high) // 2
        fits = clopper_pearson_upper(middle, trials, confidence) <= target
        low, high = (middle, high) if fits else (low, middle)
    return low


def images_needed(target: float, confidence: float = 0.95) -> int:
    """Return how many images without a false alarm it takes to prove the target rate."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-target))


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A score above which items are suspicious, and what calibration says of it."""

    value: float
    exceedances: int
    trials: int
    fpr_upper_bound: float
    confidence: float


def calibrate_threshold(scores: Tensor, target: float, confidence: float = 0.95) -> Threshold:
    """Choose the lowest threshold that bounds the false-positive rate by `target`.

    `scores` (n) are of clean images that nothing was fitted on; never of attacks.
    """
    trials = len(scores)
    allowed = allowed_exceedances(trials, target, confidence)
    value = scores.sort(descending=True).values[allowed].item()
    exceedances = int((scores > value).sum())
    bound = clopper_pearson_upper(exceedances, trials, confidence)
    return Threshold(
        value=value,
        exceedances=exceedances,
        trials=trials,
        fpr_upper_bound=bound,
        confidence=confidence,
    )
