"""Spectral signatures (Tran et al. 2018) with a threshold that can find nothing.

Poison shifts part of a class along one direction. The class's activations are whitened by a robust
covariance, so that this direction is the widest even where poison is rare (SPECTRE, Hayase et al.
2021), and each sample scored by its projection on it. In place of a fixed share of every class, the
threshold is calibrated: scores of the other classes are the null, p-values are conformal, and
Benjamini and Hochberg's procedure bounds the share of false discoveries.
"""

# M samples of one class, F features, D whitened dimensions

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robustness.poisoning.evidence import Evidence, Mask
from robustness.poisoning.group import Group, Reason

TRIMMED = 0.4
"""Share of a class that the robust covariance leaves out: the most poison it withstands."""
ROUNDS = 5
DIMENSIONS = 20
MAD_TO_DEVIATION = 1.4826
TINY = 1e-12

Doubles = NDArray[np.float64]


def spectral_scores(features: NDArray[np.floating]) -> Doubles:
    """Return |projection| of the centred features (M F) on their top right singular vector: M."""
    centred = features - features.mean(0)
    top = np.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    return np.asarray(np.abs(centred @ top))


def robust_scores(features: NDArray[np.float32]) -> Doubles:
    """Return each sample's distance, in robust deviations, along the widest whitened direction."""
    white = _whitened(features.astype(np.float64))
    if not white.shape[1]:  # all samples are alike
        return np.zeros(len(features))
    top = np.linalg.eigh(white.T @ white).eigenvectors[:, -1]
    projected = white @ top
    projected -= np.median(projected)
    distances = np.abs(projected)
    return np.asarray(distances / (MAD_TO_DEVIATION * np.median(distances) + TINY))


def suspect_spectra(
    evidence: Evidence, labels: Sequence[int], *, false_discoveries: float
) -> list[Group]:
    """Return the outliers of each class; `false_discoveries` bounds the share of false ones.

    Needs two classes or more: a class is judged by the others.
    """
    scores = {label: robust_scores(evidence.features[evidence.of_class(label)]) for label in labels}
    groups = []
    for label, found in scores.items():
        others = [values for other, values in scores.items() if other != label]
        if not others:
            continue
        p_values = _p_values(found, np.sort(np.concatenate(others)))
        chosen = benjamini_hochberg(p_values, false_discoveries)
        if chosen.any():
            members = evidence.of_class(label)[chosen]
            statistic = float(found[chosen].min())
            groups.append(Group(Reason.SPECTRAL_SIGNATURE, label, members, members, statistic))
    return groups


def benjamini_hochberg(p_values: Doubles, rate: float) -> Mask:
    """Say which hypotheses to reject so that false rejections are at most `rate` (1995)."""
    ordered = np.sort(p_values)
    within = np.flatnonzero(ordered <= rate * np.arange(1, len(ordered) + 1) / len(ordered))
    if not len(within):
        return np.zeros(len(p_values), np.bool_)
    return np.asarray(p_values <= ordered[within[-1]])


def _p_values(scores: Doubles, null: Doubles) -> Doubles:
    """Return (1 + #{null ≥ score}) / (1 + n), the null ascending."""
    above = len(null) - np.searchsorted(null, scores, side="left")
    return np.asarray((1 + above) / (1 + len(null)))


def _whitened(features: Doubles) -> Doubles:
    """Return the features in the main axes of their robust covariance, each of deviation 1: M D."""
    centre = np.median(features, axis=0)
    scale = np.median(np.abs(features - centre), axis=0)
    white = (features - centre)[:, scale > TINY] / scale[scale > TINY]
    for _ in range(ROUNDS):  # concentration steps (Rousseeuw and Van Driessen 1999)
        distances = np.square(white).sum(1)
        kept = features[distances <= np.quantile(distances, 1 - TRIMMED)]
        spread, axes = np.linalg.eigh(np.cov(kept.T))
        main = spread > max(spread[-1] * 1e-4, TINY)
        axes, spread = axes[:, main][:, -DIMENSIONS:], spread[main][-DIMENSIONS:]
        white = (features - kept.mean(0)) @ axes / np.sqrt(spread)
    return np.asarray(white)
