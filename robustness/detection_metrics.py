"""How well scores tell attacks from clean images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]


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
    return float(np.mean(scores > threshold)) if len(scores) else float("nan")
