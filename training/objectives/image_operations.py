"""The operations of AugMix, each image of a batch with its own, on the batch's device.

Shapes: B batch, C H W an image; pixels are in 0..1. Ranges are those of the authors' code at
severity 10.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor

GEOMETRIC = 5  # rotate, shear x, shear y, translate x, translate y
PHOTOMETRIC = 3  # autocontrast, posterize, solarize
OPERATIONS = GEOMETRIC + PHOTOMETRIC

_LARGEST_ANGLE = math.radians(30)
_LARGEST_SHEAR = 0.3
_LARGEST_SHIFT = 2 / 3  # of half the image: a third of its side
_TINY = 1e-6


def random_operation(images: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """Return each image after one operation of random kind, strength and direction: B C H W."""
    device = generator.device
    kinds = torch.randint(OPERATIONS, (len(images),), generator=generator, device=device)
    draws = torch.rand((2, len(images)), generator=generator, device=device)
    strength = (0.1 + draws[0] * (severity - 0.1)).clamp_min(0.0) / 10
    signed = strength * torch.where(draws[1] < 0.5, 1.0, -1.0)
    kinds, strength, signed = (x.to(images.device) for x in (kinds, strength, signed))
    moved = _move(images, kinds, signed)
    return _tone(moved, kinds - GEOMETRIC, strength)


def _move(images: Tensor, kinds: Tensor, signed: Tensor) -> Tensor:
    """Rotate, shear or translate the images whose kind says so; zeros come in at the edges."""

    def where(kind: int, largest: float) -> Tensor:
        return torch.where(kinds == kind, signed * largest, 0.0)

    angle = where(0, _LARGEST_ANGLE)
    cosine, sine = angle.cos(), angle.sin()
    flat = images.shape[2] / images.shape[3]  # the grid's units are half sides, not pixels
    over, down = (where(1, _LARGEST_SHEAR) - sine) * flat, (where(2, _LARGEST_SHEAR) + sine) / flat
    rows = [
        torch.stack([cosine, over, where(3, _LARGEST_SHIFT)], 1),
        torch.stack([down, cosine, where(4, _LARGEST_SHIFT)], 1),
    ]
    with torch.autocast(images.device.type, enabled=False):  # a coarse grid would warp the images
        grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        moved = F.grid_sample(images, grid.to(images.dtype), align_corners=False)
    return torch.where(_per_image(kinds < GEOMETRIC), moved, images)


def _tone(images: Tensor, kinds: Tensor, strength: Tensor) -> Tensor:
    """Stretch the contrast, posterize or solarize the images whose kind says so."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    stretched = torch.where(high > low, (images - low) / (high - low).clamp_min(_TINY), images)
    levels = _per_image(2 ** (4 - (4 * strength).floor()))
    posterized = (images * levels).floor().clamp_max(levels - 1) / levels
    turned = _per_image(1 - strength)
    solarized = torch.where(images < turned, images, 1 - images)
    for kind, changed in enumerate((stretched, posterized, solarized)):
        images = torch.where(_per_image(kinds == kind), changed, images)
    return images


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
