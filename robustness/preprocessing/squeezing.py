"""Defences that drop detail: JPEG, fewer bits, the median of a window.

Shapes: B batch, C H W an image, k the side of a window; pixels are in 0..1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustness.preprocessing.jpeg_file import through_jpeg
from robustness.preprocessing.preprocessing import Preprocessing
from torchkeep.errors import SettingsError


class Jpeg(Preprocessing):
    """JPEG compression (Dziugaite et al. 2016). Pixels are cut off to bytes, as ART does."""

    kind = "jpeg"

    def __init__(self, quality: int) -> None:
        super().__init__()
        _check(quality, 1, 100, "a JPEG quality")
        self.quality = quality

    def change(self, images: Tensor, draw: int) -> Tensor:
        pixels = (images * 255).to(torch.uint8).cpu().numpy()
        compressed = np.empty_like(pixels)
        for place, image in enumerate(pixels):
            compressed[place] = through_jpeg(image, self.quality)
        return torch.from_numpy(compressed).to(images) / 255

    def options(self) -> dict[str, Any]:
        return {"quality": self.quality}


class Bits(Preprocessing):
    """Feature squeezing: fewer bits a value (Xu et al. 2018, section 3.1)."""

    kind = "bits"

    def __init__(self, depth: int) -> None:
        super().__init__()
        _check(depth, 1, 8, "a bit depth")
        self.depth = depth

    def change(self, images: Tensor, draw: int) -> Tensor:
        levels = 2**self.depth - 1
        squeezed: Tensor = (images.double() * levels).round() / levels
        return squeezed.to(images)

    def options(self) -> dict[str, Any]:
        return {"depth": self.depth}


class Median(Preprocessing):
    """Spatial smoothing: the median of a k x k window (Xu et al. 2018, section 3.2).

    Borders mirror with the edge repeated. Of an even window the pixel is right below the middle,
    and the upper median counts, as in scipy. The gradient goes to the pixel that is the median.
    """

    kind = "median"
    differentiable = True

    def __init__(self, window: int) -> None:
        super().__init__()
        _check(window, 2, 9, "a window's side")
        self.window = window

    def change(self, images: Tensor, draw: int) -> Tensor:
        rows, columns = (self._places(side, images.device) for side in images.shape[2:])
        padded = images[:, :, rows][:, :, :, columns]
        windows = padded.unfold(2, self.window, 1).unfold(3, self.window, 1).flatten(4)
        middle: Tensor = windows.kthvalue(self.window**2 // 2 + 1, dim=-1).values
        return middle

    def _places(self, side: int, device: torch.device) -> Tensor:
        """Return where each place of the padded side is taken from."""
        before = self.window // 2
        places = torch.arange(-before, side + self.window - 1 - before, device=device) % (2 * side)
        return torch.minimum(places, 2 * side - 1 - places)

    def options(self) -> dict[str, Any]:
        return {"window": self.window}


def _check(number: object, least: int, most: int, what: str) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise SettingsError(f"{number!r} is not {what}", remedy=f"Give {least} to {most}.")
