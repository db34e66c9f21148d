"""Conformal p-values: how unusual a score is among scores of the same kind, whatever the kind.

Source: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005.

    N items, M calibration scores
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_CALIBRATION = 50
"""With fewer calibration rows no p-value could be below 2 %."""
MAX_FIT = 1024
"""Rows that models of normality compare with; more would cost time for little."""


def divided(rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide the rows of a reference by chance: a part to fit on, a part to calibrate on.

    Scores of rows that a model was fitted on are too small to calibrate with.
    """
    shuffled = np.random.default_rng(seed).permutation(rows)
    fit = min(MAX_FIT, rows // 2)
    return shuffled[:fit], shuffled[fit:]


def conformal_p_values(
    calibration: NDArray[Any], scores: NDArray[Any], ties: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return p-values of scores N against sorted calibration scores M; small where one is large.

    With `ties` (N, uniform in 0..1) they are exactly uniform for exchangeable scores; without, they
    are at least that. NaN scores give NaN.
    """
    count = len(calibration)
    below = np.searchsorted(calibration, scores, side="left")
    upto = np.searchsorted(calibration, scores, side="right")
    broken = 1.0 if ties is None else ties
    p = (count - upto + broken * (upto - below + 1)) / (count + 1)
    return np.where(np.isnan(scores), np.nan, p)
