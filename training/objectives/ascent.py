"""The inner maximisation of adversarial training: projected steps up a loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustness.attacks.perturbation import ascent_direction, project
from torchkeep.threat_model import ThreatModel


def ascend(
    loss: Callable[[Tensor], Tensor],
    images: Tensor,
    start: Tensor,
    threat: ThreatModel,
    *,
    step_size: float,
    steps: int,
) -> Tensor:
    """Return images (B C H W in 0..1) moved `steps` projected steps up `loss` from `start`.

    `start` (B C H W) is a perturbation; it may leave valid pixels, the result does not.
    """
    perturbation = start
    for _ in range(steps):
        perturbation = perturbation.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(images + perturbation), perturbation)
        step = step_size * ascent_direction(gradient, threat.norm)
        perturbation = project(images, perturbation.detach() + step, threat)
    return (images + perturbation).detach()
