"""Moves inside a ball of a norm, per example: start, ascend, project.

Shapes: B batch, C H W an image; pixels are in 0..1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torchkeep.threat_model import Norm, ThreatModel

_TINY = 1e-12


def random_start(images: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Return perturbations drawn uniformly from the ball, clipped to valid pixels."""
    return project(images, random_noise(images, threat, generator), threat)


def random_noise(images: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Return perturbations drawn uniformly from the ball; pixels may become invalid."""
    device = generator.device  # drawn there: a copy a step would cost more than the draw
    noise = torch.rand(images.shape, generator=generator, device=device).to(images) * 2 - 1
    if threat.norm is Norm.L2:
        radius = torch.rand(len(images), generator=generator, device=device).to(images)
        radius = radius ** (1 / images[0].numel())
        direction = torch.randn(images.shape, generator=generator, device=device).to(images)
        noise = direction / _norms(direction) * _per_image(radius)
    return noise * threat.eps


def ascent_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the unit step that raises the loss most in the norm: sign, or gradient over length."""
    if norm is Norm.LINF:
        return gradient.sign()
    return gradient / _norms(gradient).clamp_min(_TINY)


def project(images: Tensor, perturbation: Tensor, threat: ThreatModel) -> Tensor:
    """Return the perturbation moved back into the ball and to pixels in 0..1."""
    if threat.norm is Norm.LINF:
        inside = perturbation.clamp(-threat.eps, threat.eps)
    else:
        inside = perturbation * (threat.eps / _norms(perturbation).clamp_min(threat.eps))
    return (images + inside).clamp(0, 1) - images


def distances(images: Tensor, others: Tensor, norm: Norm) -> Tensor:
    """Return the distance of each pair of images in the norm: B."""
    difference = (others - images).flatten(1)
    if norm is Norm.LINF:
        return difference.abs().amax(1)
    length: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return length


def _norms(values: Tensor) -> Tensor:
    return _per_image(torch.linalg.vector_norm(values.flatten(1), dim=1))


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
