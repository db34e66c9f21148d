"""Moves inside a ball of a norm, per example: start, ascend, project.

Shapes: B batch, C H W an image, D = C·H·W; pixels are in 0..1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torchkeep.threat_model import Norm, PatchThreat, Threat, ThreatModel

_TINY = 1e-12
_ROUNDING = 1e-5
"""How far float32 arithmetic may leave the ball, as a share of its radius or of a pixel's range."""


def random_start(images: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Return perturbations drawn uniformly from the ball, clipped to valid pixels."""
    return project(images, random_noise(images, threat, generator), threat)


def random_noise(images: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Return perturbations drawn uniformly from the ball; pixels may become invalid.

    In L1 and L2 a direction times a radius (Barthe et al. 2005).
    """
    device = generator.device  # drawn there: a copy a step would cost more than the draw
    noise = torch.rand(images.shape, generator=generator, device=device).to(images) * 2 - 1
    if threat.norm is not Norm.LINF:
        radius = torch.rand(len(images), generator=generator, device=device).to(images)
        radius = radius ** (1 / images[0].numel())
        if threat.norm is Norm.L2:
            direction = torch.randn(images.shape, generator=generator, device=device).to(images)
        else:
            direction = noise.sign() * -noise.abs().clamp_min(_TINY).log()  # Laplace
        noise = direction / _lengths(direction, threat.norm) * _per_image(radius)
    return noise * threat.eps


def ascent_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Return a step of length 1 that raises the loss: the sign, or the gradient over its length.

    In L1 the steepest one moves a single pixel, which soon is at its end: the step moves those with
    the largest gradients alike, a hundredth, but 10 at least (Tramèr and Boneh 2019, section 3.2).
    """
    if norm is Norm.LINF:
        return gradient.sign()
    if norm is Norm.L2:
        return gradient / _lengths(gradient, norm).clamp_min(_TINY)
    flat = gradient.flatten(1)
    moved = min(flat.shape[1], max(10, flat.shape[1] // 100))
    largest = flat.abs().topk(moved, dim=1).indices
    step = torch.zeros_like(flat).scatter_(1, largest, flat.gather(1, largest).sign() / moved)
    return step.view_as(gradient)


def project(images: Tensor, perturbation: Tensor, threat: ThreatModel) -> Tensor:
    """Return the perturbation moved back into the ball and to pixels in 0..1.

    In L1 the closest point of both at once (Croce and Hein 2021, section 3): the ball first and
    the box afterwards would leave most of the radius unused.
    """
    if threat.norm is Norm.LINF:
        inside = perturbation.clamp(-threat.eps, threat.eps)
    elif threat.norm is Norm.L2:
        lengths = _lengths(perturbation, Norm.L2)
        inside = perturbation * (threat.eps / lengths.clamp_min(threat.eps))
    else:
        inside = _project_l1_box(images, perturbation, threat.eps)
    return (images + inside).clamp(0, 1) - images


def distances(images: Tensor, others: Tensor, norm: Norm) -> Tensor:
    """Return the distance of each pair of images in the norm: B."""
    difference = (others - images).flatten(1)
    if norm is Norm.LINF:
        return difference.abs().amax(1)
    order = 1 if norm is Norm.L1 else 2
    length: Tensor = torch.linalg.vector_norm(difference, order, dim=1)
    return length


def within(images: Tensor, others: Tensor, threat: Threat) -> Tensor:
    """Return which of `others` an attacker may make of `images`, but for rounding: B.

    False for what is not a number.
    """
    valid = ((others >= 0) & (others <= 1)).flatten(1).all(1)
    if isinstance(threat, PatchThreat):
        return valid & _in_a_square(images, others, threat)
    slack = _ROUNDING * (1 if threat.norm is Norm.LINF else max(1.0, threat.eps))
    return valid & (distances(images, others, threat.norm) <= threat.eps + slack)


def _in_a_square(images: Tensor, others: Tensor, threat: PatchThreat) -> Tensor:
    changed = (images != others).any(1)  # B H W
    side = threat.side(*changed.shape[1:])
    rows, columns = changed.any(2), changed.any(1)
    return (_extent(rows) <= side) & (_extent(columns) <= side)


def _extent(marked: Tensor) -> Tensor:
    """Return how many places lie from the first marked to the last one, both included: B N to B."""
    places = torch.arange(marked.shape[1], device=marked.device).expand_as(marked)
    last = places.where(marked, -1).amax(1)
    first = places.where(marked, marked.shape[1]).amin(1)
    return (last - first + 1).clamp_min(0)


def _project_l1_box(images: Tensor, perturbation: Tensor, eps: float) -> Tensor:
    """Return the closest point with L1 norm at most `eps` and images + it in 0..1.

    It is sign(u)·clamp(|u| - t, 0, room): the t at which the norm is `eps` lies between two
    breakpoints, found by bisection over the sorted ones, and then in closed form.
    """
    flat = perturbation.flatten(1)
    low, high = -images.flatten(1), 1 - images.flatten(1)
    size, room = flat.abs(), torch.where(flat > 0, high, -low).clamp_min(0)
    breaks = torch.cat([size, (size - room).clamp_min(0), torch.zeros_like(size[:, :1])], dim=1)
    breaks = breaks.sort(dim=1).values  # ascending: the norm falls from one to the next
    below = torch.zeros(len(flat), dtype=torch.long, device=flat.device)
    above = torch.full_like(below, breaks.shape[1] - 1)
    for _ in range(breaks.shape[1].bit_length()):
        middle = (below + above + 1) // 2
        fits = _shrunk(size, room, breaks.gather(1, middle[:, None])).sum(1) >= eps
        below = torch.where(fits, middle, below)
        above = torch.where(fits, above, middle - 1)
    start = breaks.gather(1, below[:, None])
    excess = _shrunk(size, room, start).sum(1, keepdim=True) - eps
    falling = ((size > start) & (size - room <= start)).sum(1, keepdim=True).clamp_min(1)
    shrunk = _shrunk(size, room, start + (excess / falling).clamp_min(0))
    rounded_up = shrunk.sum(1, keepdim=True).clamp_min(eps) / eps
    return (flat.sign() * shrunk / rounded_up).view_as(perturbation)


def _shrunk(size: Tensor, room: Tensor, by: Tensor) -> Tensor:
    return torch.minimum((size - by).clamp_min(0), room)


def _lengths(values: Tensor, norm: Norm) -> Tensor:
    order = 1 if norm is Norm.L1 else 2
    return _per_image(torch.linalg.vector_norm(values.flatten(1), order, dim=1))


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
