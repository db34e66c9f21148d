"""Catastrophic overfitting: one-step robustness that a stronger attack shows to be none.

A network trained against one attack step can learn, within an epoch, to fool just that step (Wong
et al. 2020, section 5.4; Andriushchenko and Flammarion 2020). A few PGD steps on held-out images
tell.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from robustness.pgd import PGD


@dataclass(slots=True, kw_only=True)
class OverfittingProbe:
    """Watches PGD accuracy from epoch to epoch and keeps the best weights.

    A fall of more than `collapse` (a share of 1) below the best epoch is a collapse.
    """

    attack: PGD
    images: Tensor
    labels: Tensor
    collapse: float
    best: float = -1.0
    weights: Mapping[str, Any] = field(default_factory=dict)

    def measure(self, model: nn.Module) -> float:
        """Return PGD accuracy, and remember the weights if it is the best so far."""
        fooled = self.attack(model, self.images, self.labels).successful
        accuracy = 1 - fooled.float().mean().item()
        if accuracy >= self.best:
            self.best = accuracy
            self.weights = copy.deepcopy(model.state_dict())
        return accuracy

    def collapsed(self, accuracy: float) -> bool:
        """Say whether this accuracy has fallen too far below the best."""
        return accuracy < self.best - self.collapse
