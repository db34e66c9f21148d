"""Fast adversarial training: one step from a random start (Wong et al. 2020, algorithm 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from robustness.perturbation import ascent_direction, project, random_noise
from torchkeep.threat_model import ThreatModel


def perturb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    step_size: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the images (B C H W in 0..1) moved up the loss from a random start.

    The start may leave valid pixels, the result does not: noise that is clipped first invites
    catastrophic overfitting (de Jorge et al. 2022, section 4). More than one step are shorter ones.
    """
    length = step_size * 2 / (steps + 1)
    perturbation = random_noise(images, threat, generator)
    for _ in range(steps):
        perturbation.requires_grad_()
        loss = F.cross_entropy(model(images + perturbation), labels)
        (gradient,) = torch.autograd.grad(loss, perturbation)
        step = length * ascent_direction(gradient, threat.norm)
        perturbation = project(images, perturbation.detach() + step, threat)
    return images + perturbation
