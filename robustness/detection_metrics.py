"""How well scores tell attacks from clean images, and what accuracy is left with a detector on.

A score that is not a number is the most suspicious of all: a detector that cannot judge fails
closed. A figure that no item speaks for is `nan`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from torchkeep.errors import SettingsError

Scores = NDArray[np.floating]
Flags = NDArray[np.bool_]
Rates = NDArray[np.float64]


def auroc(clean: Scores, attacked: Scores) -> float:
    """Return the probability that an attacked item scores above a clean one; ties count half.

    `nan` if either side is empty.
    """
    if not len(clean) or not len(attacked):
        return float("nan")
    ordered = np.sort(clean)
    below = np.searchsorted(ordered, attacked, side="left")
    up_to = np.searchsorted(ordered, attacked, side="right")
    return float((below + up_to).mean() / (2 * len(clean)))


def exceedance_rate(scores: Scores, threshold: float) -> float:
    """Return the share of scores above the threshold: FPR of clean items, TPR of attacks."""
    return float(np.mean(~(scores <= threshold))) if len(scores) else float("nan")


def tpr_at_fpr(clean: Scores, attacked: Scores, fpr: float) -> float:
    """Return the share of attacks above the lowest clean score that at most `fpr` of clean exceed.

    The threshold comes from clean scores alone, and an attack that ties with it is not detected.
    Raises `SettingsError` if `fpr` is no share; `nan` if either side is empty.
    """
    if not 0 <= fpr <= 1:
        raise SettingsError(f"a false-positive rate of {fpr}", remedy="Give one from 0 to 1.")
    if not len(clean) or not len(attacked):
        return float("nan")
    allowed = int(fpr * len(clean))
    if allowed >= len(clean):
        return 1.0
    threshold = np.sort(_closed(clean))[len(clean) - 1 - allowed]
    return float(np.mean(_closed(attacked) > threshold))


def roc_points(clean: Scores, attacked: Scores, most: int = 200) -> tuple[Rates, Rates]:
    """Return FPR and TPR of at most `most` points of the curve, from (0, 0) to (1, 1).

    Raises `SettingsError` if `most` is below 2; no points if either side is empty.
    """
    if most < 2:
        raise SettingsError(f"a curve of {most} points", remedy="Give at least 2.")
    if not len(clean) or not len(attacked):
        return np.zeros(0), np.zeros(0)
    negatives, positives = np.sort(_closed(clean)), np.sort(_closed(attacked))
    cuts = np.unique(np.concatenate([negatives, positives]))[::-1]
    if len(cuts) > most - 1:
        cuts = cuts[np.linspace(0, len(cuts) - 1, most - 1).round().astype(int)]
    fpr, tpr = (
        np.append(0.0, 1 - np.searchsorted(side, cuts, side="left") / len(side))
        for side in (negatives, positives)
    )
    return fpr, tpr


def density(scores: Scores, edges: Scores) -> NDArray[np.float64]:
    """Return the density in each bin between ascending `edges`: (bins + 1) to (bins).

    Scores outside the edges count in the whole: the densities sum to the share inside.
    """
    widths = np.diff(edges)
    if not len(widths) or not (widths > 0).all():
        raise SettingsError("edges of bins do not ascend", remedy="Give two or more, ascending.")
    if not len(scores):
        return np.full(len(widths), np.nan)
    counts, _ = np.histogram(_closed(scores), bins=edges)
    return np.asarray(counts / (len(scores) * widths), np.float64)


def robust_accuracy_with_detection(
    clean_right: Flags, clean_accepted: Flags, attacks: Sequence[Flags]
) -> float:
    """Return the share of items right and accepted when clean, that no attack wins (all B).

    Each of `attacks` says where one is wrong and accepted. A rejected clean item is an error.
    """
    holds = clean_right & clean_accepted
    for won in attacks:
        holds = holds & ~won
    return float(holds.mean()) if len(holds) else float("nan")


def _closed(scores: Scores) -> NDArray[np.float64]:
    return np.where(np.isnan(scores), np.inf, scores).astype(np.float64)
