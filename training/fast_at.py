"""Fast adversarial training: one step from a random start (Wong et al. 2020, algorithm 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from robustness.perturbation import ascent_direction, project, random_start
from torchkeep.threat_model import ThreatModel


def perturb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    step_size: float,
    generator: torch.Generator,
) -> Tensor:
    """Return the images (B C H W in 0..1) moved by one step up the loss from a random start."""
    start = random_start(images, threat, generator).requires_grad_()
    loss = F.cross_entropy(model(images + start), labels)
    (gradient,) = torch.autograd.grad(loss, start)
    step = step_size * ascent_direction(gradient, threat.norm)
    return images + project(images, start.detach() + step, threat)
