"""Catastrophic overfitting: one-step robustness that a stronger attack shows to be none.

A network trained against one attack step can learn, within an epoch, to fool just that step (Wong
et al. 2020, section 5.4; Andriushchenko and Flammarion 2020). On held-out images, accuracy under a
few PGD steps then falls, or never rises, while accuracy under one step is high.
"""

from __future__ import annotations

from collections.abc import Mapping

from training.config import Watch
from training.held_out import ONE_STEP, PGD_ACCURACY


def collapsed(metrics: Mapping[str, float], best: float, watch: Watch) -> bool:
    """Say whether robustness against one step is no longer robustness.

    It is a collapse if PGD accuracy falls by more than `watch.fall` below `best`, or lies by more
    than `watch.gap` below accuracy under one step (healthy early epochs show up to 0.56 on MNIST).
    """
    robust = metrics[PGD_ACCURACY]
    return robust < best - watch.fall or metrics[ONE_STEP] - robust > watch.gap
