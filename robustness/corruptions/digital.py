"""Digital damage: pixelation, JPEG, elastic distortion.

Shapes: C H W an image of float64 in 0..1. Definitions: Hendrycks and Dietterich (2019), CIFAR-10-C;
lengths there are shares of the side.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from robustness.preprocessing.jpeg_file import through_jpeg

Image = NDArray[np.float64]


def pixelate(image: Image, share: float, random: Generator) -> Image:
    """Shrink each side to a `share` of it and back, by boxes."""
    height, width = image.shape[1:]
    small = (int(width * share), int(height * share))
    channels = [Pillow.fromarray(channel.astype(np.float32)) for channel in image]
    boxed = [
        channel.resize(small, Pillow.Resampling.BOX).resize((width, height), Pillow.Resampling.BOX)
        for channel in channels
    ]
    return np.stack([np.asarray(channel, np.float64) for channel in boxed])


def jpeg_compression(image: Image, quality: int, random: Generator) -> Image:
    """Compress as JPEG of a quality and decompress."""
    return through_jpeg(np.rint(image * 255).astype(np.uint8), quality) / 255.0


def elastic_transform(image: Image, shares: tuple[float, float, float], random: Generator) -> Image:
    """Move three points at random, then each pixel by a smooth random field.

    Shares of the shorter side: how far pixels move, the field's sigma, how far the points move.
    """
    height, width = image.shape[1:]
    strength, sigma, affine = (share * min(height, width) for share in shares)
    moved = _affine(image, affine, random)
    fields = random.uniform(-1, 1, size=(2, height, width))
    down, right = (
        ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3) * strength
        for field in fields
    )
    rows, columns = np.mgrid[:height, :width]
    return _sampled(moved, rows + down, columns + right, "reflect")


def _affine(image: Image, reach: float, random: Generator) -> Image:
    """Warp by the affine map that moves three corners of a square by up to `reach` pixels."""
    height, width = image.shape[1:]
    middle, size = np.array([width // 2, height // 2]), min(height, width) // 3
    before = middle + size * np.array([[1, 1], [1, -1], [-1, -1]])  # x y
    after = before + random.uniform(-reach, reach, size=(3, 2))
    backward = np.linalg.solve(np.column_stack([after, np.ones(3)]), before)  # 3 x 2
    rows, columns = np.mgrid[:height, :width]
    x, y = np.moveaxis(np.stack([columns, rows, np.ones_like(rows)], -1) @ backward, -1, 0)
    return _sampled(image, y, x, "mirror")


def _sampled(image: Image, rows: Image, columns: Image, border: str) -> Image:
    sampled = [
        ndimage.map_coordinates(channel, [rows, columns], order=1, mode=border) for channel in image
    ]
    return np.stack(sampled)
