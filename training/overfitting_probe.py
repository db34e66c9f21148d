"""Catastrophic overfitting: one-step robustness that a stronger attack shows to be none.

A network trained against one attack step can learn, within an epoch, to fool just that step (Wong
et al. 2020, section 5.4; Andriushchenko and Flammarion 2020). On held-out images, accuracy under a
few PGD steps then falls, or never rises, while accuracy under one step is high.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from robustness.attack import Attack


@dataclass(frozen=True, slots=True)
class Probed:
    """Accuracy, as a share of 1, under one attack step and under PGD."""

    one_step_accuracy: float
    pgd_accuracy: float


@dataclass(slots=True, kw_only=True)
class OverfittingProbe:
    """Watches both accuracies from epoch to epoch and keeps the weights best under PGD.

    It is a collapse if PGD accuracy falls by more than `fall` below the best epoch, or lies by more
    than `gap` below accuracy under one step (healthy early epochs show up to 0.56 on MNIST).
    """

    one_step: Attack
    pgd: Attack
    images: Tensor
    labels: Tensor
    fall: float
    gap: float
    best: float = -1.0
    weights: Mapping[str, Any] = field(default_factory=dict)

    def measure(self, model: nn.Module) -> Probed:
        """Measure both accuracies; remember the weights if they are the best and no collapse."""
        probed = Probed(self._accuracy(model, self.one_step), self._accuracy(model, self.pgd))
        if probed.pgd_accuracy >= self.best and not self.collapsed(probed):
            self.best = probed.pgd_accuracy
            self.weights = copy.deepcopy(model.state_dict())
        return probed

    def collapsed(self, probed: Probed) -> bool:
        """Say whether robustness against one step is no longer robustness."""
        fell = probed.pgd_accuracy < self.best - self.fall
        return fell or probed.one_step_accuracy - probed.pgd_accuracy > self.gap

    def restore(self, model: nn.Module) -> None:
        """Put the best weights back; without any, the model stays as it is."""
        if self.weights:
            model.load_state_dict(self.weights)

    def _accuracy(self, model: nn.Module, attack: Attack) -> float:
        fooled = attack(model, self.images, self.labels).successful
        return 1 - fooled.float().mean().item()
