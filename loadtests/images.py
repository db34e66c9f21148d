"""Images to send: your own, or pen strokes on black that look a little like digits."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# N images, B images in a request, C channels, H W pixels, P points of the pen

Shape: TypeAlias = tuple[int, int, int]
LARGEST_SIDE = 1024
STROKES = 3
POINTS = 48
PEN = 0.05
"""Width of the pen, as a share of the image's side."""


def draw(count: int, shape: Shape, seed: int) -> NDArray[np.uint8]:
    """Return `count` images (N C H W) of a few curved strokes; equal seeds give equal images."""
    channels, height, width = shape
    random = np.random.default_rng(seed)
    gray = np.stack([_strokes(random, height, width) for _ in range(count)])
    return np.repeat(gray[:, None], channels, axis=1)


def _strokes(random: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Return one image (H W): the pen follows quadratic Bézier curves, and fades with distance."""
    a, b, c = random.uniform(0.15, 0.85, size=(3, STROKES, 1, 2))
    t = np.linspace(0, 1, POINTS)[:, None]
    pen = ((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c).reshape(-1, 2)  # P 2
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)  # H 1, W
    squared = np.full((height, width), np.inf)
    for point_y, point_x in pen:
        squared = np.minimum(squared, (y - point_y) ** 2 + (x - point_x) ** 2)
    ink: NDArray[np.float64] = 255 * np.exp(-squared / PEN**2)
    return np.rint(ink).astype(np.uint8)


def load(path: Path) -> NDArray[np.uint8]:
    """Return the images of an .npy file: uint8, N C H W. Raises `ValueError` or `OSError`."""
    images: NDArray[np.uint8] = np.load(path, allow_pickle=False)
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) == 0:
        raise ValueError(f"{path} holds {images.dtype} {images.shape}, expected uint8 N C H W")
    return images


def in_requests(images: NDArray[np.uint8], size: int) -> list[NDArray[np.uint8]]:
    """Return the images in batches (B C H W) of `size`; the last one is filled from the start."""
    starts = range(0, len(images), size)
    return [images.take(range(start, start + size), axis=0, mode="wrap") for start in starts]


def shape_of(text: str) -> Shape:
    """Read a shape such as 1x28x28. Raises `ValueError`."""
    sides = text.split("x")
    if len(sides) != 3 or not all(side.isdecimal() for side in sides):
        raise ValueError(f"{text!r} is no shape such as 1x28x28")
    channels, height, width = map(int, sides)
    if min(channels, height, width) == 0 or max(channels, height, width) > LARGEST_SIDE:
        raise ValueError(f"the sides of {text!r} are not in 1 to {LARGEST_SIDE}")
    return channels, height, width
