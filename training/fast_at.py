"""Fast adversarial training: few steps from a random start (Wong et al. 2020, algorithm 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from robustness.perturbation import ascent_direction, project, random_noise
from torchkeep.threat_model import Epsilon, ThreatModel


@dataclass(frozen=True, slots=True, kw_only=True)
class FastAttack:
    """Moves a batch up the loss before it is learnt.

    `step_size` is the length of a single step; more steps are shorter ones.
    """

    threat: ThreatModel
    step_size: float
    steps: int

    def scaled(self, share: float) -> Self:
        """Return this attack with its radius and its step at `share` (above 0) of their size."""
        threat = replace(self.threat, eps=Epsilon(self.threat.eps * share))
        return replace(self, threat=threat, step_size=self.step_size * share)

    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the images (B C H W in 0..1) moved up the loss from a random start.

        The start may leave valid pixels, the result does not: noise that is clipped first invites
        catastrophic overfitting (de Jorge et al. 2022, section 4).
        """
        length = self.step_size * 2 / (self.steps + 1)
        perturbation = random_noise(images, self.threat, generator)
        for _ in range(self.steps):
            perturbation.requires_grad_()
            loss = F.cross_entropy(model(images + perturbation), labels)
            (gradient,) = torch.autograd.grad(loss, perturbation)
            step = length * ascent_direction(gradient, self.threat.norm)
            perturbation = project(images, perturbation.detach() + step, self.threat)
        return images + perturbation
