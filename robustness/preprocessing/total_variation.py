"""Total variation minimisation (Guo et al. 2018): rebuild an image from some of its pixels.

Shapes: B batch, C H W an image; pixels are in 0..1.
"""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor

from robustness.preprocessing.preprocessing import Preprocessing
from torchkeep.errors import SettingsError

STEPS = 60
_RATE = 0.05
_DECAYS = (0.9, 0.99)
_TINY = 1e-6
_DRAW = 1_000_003


class TotalVariation(Preprocessing):
    """Minimise |kept (z - x)|_2 + weight · TV(z) a channel, from z = x; TV sums the 2-norms of the
    differences of neighbouring rows and columns.

    The objective of ART's `TotalVarMin`, by Adam (Kingma and Ba 2015), whole batches at a time.
    Which pixels are kept, `keep` of them, follows from the image's own bytes, the seed and the
    draw: an image gives the same result alone and in company, and a changed one another draw.
    """

    kind = "tv"
    random = True

    def __init__(self, weight: float, keep: float = 0.3, seed: int = 0) -> None:
        super().__init__()
        if not isinstance(weight, float | int) or not 0 < weight <= 10:
            raise SettingsError(f"{weight!r} is no weight of total variation", remedy="Up to 10.")
        if not isinstance(keep, float | int) or not 0 < keep <= 1:
            raise SettingsError(f"{keep!r} is no share of pixels to keep", remedy="Up to 1.")
        if not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise SettingsError(f"{seed!r} is no seed", remedy="Give 0 to 4294967295.")
        self.weight, self.keep, self.seed = weight, keep, seed

    def change(self, images: Tensor, draw: int) -> Tensor:
        return self.minimise(images, self.masks(images, draw)).clamp(0, 1)

    def masks(self, images: Tensor, draw: int) -> Tensor:
        """Return which pixels are kept, as 0 and 1: B C H W."""
        kept = [torch.empty(0, *images.shape[1:])]
        for image in (images * 255).round().to(torch.uint8).cpu().numpy():
            seed = (zlib.crc32(image.tobytes()) << 32) + (self.seed + draw * _DRAW) % 2**32
            generator = torch.Generator().manual_seed(seed % 2**63)
            kept.append(torch.rand(1, *image.shape, generator=generator) < self.keep)
        return torch.cat(kept).to(images)

    def minimise(self, images: Tensor, kept: Tensor) -> Tensor:
        """Return the images (B C H W) rebuilt from the kept pixels."""
        z, first, second = images.clone(), torch.zeros_like(images), torch.zeros_like(images)
        slow, slower = _DECAYS
        for step in range(1, STEPS + 1):
            gradient = self._gradient(z, images, kept)
            first = slow * first + (1 - slow) * gradient
            second = slower * second + (1 - slower) * gradient**2
            size = (second / (1 - slower**step)).sqrt() + _TINY
            rate = _RATE * (1 - (step - 1) / STEPS)
            z = z - rate * first / (1 - slow**step) / size
        return z

    def objective(self, z: Tensor, images: Tensor, kept: Tensor) -> Tensor:
        """Return what is minimised, a channel: B C."""
        distance = ((z - images) * kept).flatten(2).norm(dim=2)
        rows = z.diff(dim=2).norm(dim=3).sum(2)
        columns = z.diff(dim=3).norm(dim=2).sum(2)
        total: Tensor = distance + self.weight * (rows + columns)
        return total

    def _gradient(self, z: Tensor, images: Tensor, kept: Tensor) -> Tensor:
        apart = (z - images) * kept
        gradient: Tensor = apart / apart.norm(dim=(2, 3), keepdim=True).clamp_min(_TINY)
        for along, across in ((2, 3), (3, 2)):
            steps = z.diff(dim=along)
            pull = self.weight * steps / steps.norm(dim=across, keepdim=True).clamp_min(_TINY)
            size = z.shape[along]
            gradient.narrow(along, 1, size - 1).add_(pull)
            gradient.narrow(along, 0, size - 1).sub_(pull)
        return gradient

    def options(self) -> dict[str, Any]:
        return {"weight": self.weight, "keep": self.keep, "seed": self.seed}
