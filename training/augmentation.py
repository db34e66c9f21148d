"""Random changes of a batch on its device that leave the label true.

Shapes: B batch, C H W an image; pixels are in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from torchkeep.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Crops of a zero-padded image, and mirrored images (He et al. 2016, section 4.2)."""

    crop_padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise SettingsError(f"crop_padding {self.crop_padding}", remedy="Give 0 or more.")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return changed copies of `images` (B C H W), each drawn for itself."""
        if self.crop_padding:
            images = _crop(images, self.crop_padding, generator)
        if self.flip:
            drawn = torch.rand(len(images), generator=generator, device=generator.device)
            mirrored = (drawn < 0.5).to(images.device).view(-1, 1, 1, 1)
            images = torch.where(mirrored, images.flip(3), images)
        return images


def _crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Cut every image at an offset of its own out of the padded batch, in one gather."""
    count, channels, height, width = images.shape
    offsets = torch.randint(
        2 * padding + 1, (2, count), generator=generator, device=generator.device
    ).to(images.device)
    rows = offsets[0, :, None] + torch.arange(height, device=images.device)
    columns = offsets[1, :, None] + torch.arange(width, device=images.device)
    padded = F.pad(images, (padding,) * 4)
    batch = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]
