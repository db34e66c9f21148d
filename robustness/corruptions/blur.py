"""Blurs: Gaussian, defocus, glass, motion, zoom.

Shapes: C H W an image of float64 in 0..1. Definitions: Hendrycks and Dietterich (2019), CIFAR-10-C.
Lengths are in pixels, as published for 32x32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float64]

_KERNEL_REACH = 8
"""Half the published size of the defocus kernel."""


def gaussian_blur(image: Image, sigma: float, random: Generator) -> Image:
    """Blur with a Gaussian of `sigma` pixels, cut off at 4 sigma; borders repeat the edge."""
    return _gaussian(image, sigma)


def defocus_blur(image: Image, disk: tuple[float, float], random: Generator) -> Image:
    """Blur with a disk of a radius, itself blurred by a sigma; borders mirror."""
    blurred: Image = ndimage.correlate(image, disk_kernel(*disk)[None], mode="mirror")
    return blurred


def disk_kernel(radius: float, alias_sigma: float) -> Image:
    """Return the uniform disk of `radius`, smoothed by a 3x3 Gaussian: 17 x 17, sum 1."""
    reach = np.arange(-_KERNEL_REACH, _KERNEL_REACH + 1)
    disk = (reach[:, None] ** 2 + reach[None] ** 2 <= radius**2).astype(np.float64)
    step = np.exp(-(np.array([-1.0, 0.0, 1.0]) ** 2) / (2 * alias_sigma**2))
    step /= step.sum()
    smooth: Image = ndimage.correlate(disk / disk.sum(), np.outer(step, step), mode="mirror")
    return smooth


def glass_blur(image: Image, glass: tuple[float, int, int], random: Generator) -> Image:
    """Blur, swap each pixel with a near one, blur: sigma, largest move, rounds.

    The published code meant to swap, but copied colours one way (numpy views); this swaps.
    """
    sigma, reach, rounds = glass
    x = _gaussian(image, sigma)
    height, width = image.shape[1:]
    for _ in range(rounds):
        moves = random.integers(-reach, reach, size=(height, width, 2))
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                down, right = moves[row, column]
                here, there = x[:, row, column].copy(), x[:, row + down, column + right].copy()
                x[:, row, column], x[:, row + down, column + right] = there, here
    return _gaussian(x, sigma)


def motion_blur(image: Image, motion: tuple[int, float], random: Generator) -> Image:
    """Smear along a random direction within 45 degrees of horizontal: radius and sigma.

    ImageMagick's MotionBlurImage, which the published code calls: one tail of a Gaussian, whole
    pixel steps, edges repeated.
    """
    radius, sigma = motion
    angle = math.radians(random.uniform(-45, 45))
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    down = np.ceil(steps * math.sin(angle) - 0.5).astype(int)
    right = np.ceil(steps * math.cos(angle) - 0.5).astype(int)
    height, width = image.shape[1:]
    smeared = np.zeros_like(image)
    for weight, row, column in zip(weights, down, right, strict=True):
        rows = (np.arange(height) + row).clip(0, height - 1)
        columns = (np.arange(width) + column).clip(0, width - 1)
        smeared += weight * image[:, rows[:, None], columns]
    return smeared


def zoom_blur(image: Image, largest: float, random: Generator) -> Image:
    """Average the image with itself zoomed by 1, 1.01, ... up to `largest`."""
    factors = 1 + 0.01 * np.arange(round((largest - 1) * 100) + 1)
    total = image + sum(_zoomed(image, factor) for factor in factors)
    return total / (len(factors) + 1)


def _zoomed(image: Image, factor: float) -> Image:
    """Return the middle of the image, enlarged to its size."""
    sides = image.shape[1:]
    crop = _middle(sides, [math.ceil(side / factor) for side in sides])
    enlarged: Image = ndimage.zoom(image[:, *crop], (1, factor, factor), order=1)
    return enlarged[:, *_middle(enlarged.shape[1:], sides)]


def _middle(sides: Sequence[int], wanted: Sequence[int]) -> tuple[slice, slice]:
    starts = [(side - length) // 2 for side, length in zip(sides, wanted, strict=True)]
    row, column = (slice(at, at + size) for at, size in zip(starts, wanted, strict=True))
    return row, column


def _gaussian(image: Image, sigma: float) -> Image:
    blurred: Image = ndimage.gaussian_filter(image, (0, sigma, sigma), mode="nearest")
    return blurred
