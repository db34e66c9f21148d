"""The smallest step of a norm onto a hyperplane that stays inside the box of valid pixels.

Shapes: B batch, D pixels. For Croce and Hein 2020 (FAB), appendix: w·(x + d) = b, 0 ≤ x + d ≤ 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torchkeep.threat_model import Norm

_TINY = 1e-12
MOST_ROUNDS = 60


def step_onto(points: Tensor, normal: Tensor, gap: Tensor, norm: Norm) -> Tensor:
    """Return the smallest d (B D) with normal·d = gap (B) and points + d in 0..1.

    Where the box does not reach the hyperplane: the corner that comes closest. Pixels with a zero
    normal are not moved.
    """
    sign = gap.sign()[:, None] * normal.sign()
    weight = normal.abs()
    room = torch.where(sign > 0, 1 - points, points) * (weight > 0)
    gap = gap.abs()
    if norm is Norm.L1:
        return sign * _greedy(weight, room, gap)
    slope = torch.ones_like(weight) if norm is Norm.LINF else weight
    return sign * torch.minimum(slope * _multiplier(weight, slope, room, gap), room)


def _multiplier(weight: Tensor, slope: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """Return the m (B 1) with Σ weight·min(slope·m, room) = gap.

    The sum is concave and grows with m, so Newton's steps never pass the solution and end at it
    after finitely many.
    """
    reach = room / slope.clamp_min(_TINY)
    multiplier = gap.new_zeros(len(gap), 1)
    product = weight * slope
    for _ in range(MOST_ROUNDS):
        free = reach > multiplier
        missing = gap - (weight * torch.minimum(slope * multiplier, room)).sum(1)
        rate = (product * free).sum(1)
        advance = torch.where(rate > 0, missing / rate.clamp_min(_TINY), torch.inf)
        done = missing <= 1e-6 * gap + _TINY
        multiplier = torch.where(done[:, None], multiplier, multiplier + advance[:, None])
        if bool((done | (rate <= 0)).all()):
            break
    return multiplier.nan_to_num(posinf=torch.finfo(gap.dtype).max)


def _greedy(weight: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """Return how far each pixel moves if those with the largest weight go first, all the way."""
    order = weight.argsort(dim=1, descending=True)
    weights, rooms = weight.gather(1, order), room.gather(1, order)
    gains = weights * rooms
    before = gains.cumsum(1) - gains
    missing = (gap[:, None] - before).clamp_min(0)
    moved = torch.minimum(missing / weights.clamp_min(_TINY), rooms)
    return torch.zeros_like(moved).scatter_(1, order, moved)
