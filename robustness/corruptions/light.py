"""Light and weather: brightness, contrast, saturation, fog.

Shapes: C H W an image of float64 in 0..1; results may leave that range and are clipped later.
Definitions: Hendrycks and Dietterich (2019), CIFAR-10-C.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.float64]

_WIBBLE = 100.0
_SMALLEST_MAP = 32


def brightness(image: Image, more: float, random: Generator) -> Image:
    """Raise V of HSV by `more`, up to 1; hue and saturation stay."""
    value = image.max(0, keepdims=True)
    raised = np.minimum(value + more, 1)
    brighter: Image = np.where(value > 0, image * raised / np.where(value > 0, value, 1), raised)
    return brighter


def contrast(image: Image, share: float, random: Generator) -> Image:
    """Keep a `share` of each pixel's distance to the mean of its channel."""
    mean = image.mean((1, 2), keepdims=True)
    paler: Image = (image - mean) * share + mean
    return paler


def saturate(image: Image, change: tuple[float, float], random: Generator) -> Image:
    """Turn S of HSV into S · factor + more, within 0..1; an RGB image's grey has the hue of red."""
    factor, more = change
    value = image.max(0, keepdims=True)
    below = value - image  # V · S · f, f the channel's share by hue
    chroma = below.max(0, keepdims=True)
    saturation = chroma / np.where(value > 0, value, 1)
    changed = (saturation * factor + more).clip(0, 1)
    hue = np.where(chroma > 0, below / np.where(chroma > 0, chroma, 1), _RED)
    recoloured: Image = value * (1 - changed * hue)
    return recoloured


_RED = np.array([0.0, 1.0, 1.0]).reshape(3, 1, 1)


def fog(image: Image, thickness: tuple[float, float], random: Generator) -> Image:
    """Add a plasma fractal times an amount, and scale the brightest pixel back to what it was."""
    amount, decay = thickness
    height, width = image.shape[1:]
    side = max(_SMALLEST_MAP, 1 << (max(height, width) - 1).bit_length())
    brightest = image.max()
    foggy: Image = image + amount * plasma(side, decay, random)[:height, :width]
    scaled: Image = foggy * brightest / (brightest + amount)
    return scaled


def plasma(side: int, decay: float, random: Generator) -> Image:
    """Return a diamond-square fractal on a torus, side x side in 0..1; `side` a power of two."""
    heights = np.zeros((side, side))
    step, wibble = side, _WIBBLE

    def jittered(total: Image) -> Image:
        return total / 4 + wibble * random.uniform(-wibble, wibble, total.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        heights[half::step, half::step] = jittered(pairs + np.roll(pairs, -1, axis=1))
        centres = heights[half::step, half::step]
        beside = centres + np.roll(centres, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        heights[::step, half::step] = jittered(beside)
        above = centres + np.roll(centres, 1, axis=1) + corners + np.roll(corners, -1, axis=0)
        heights[half::step, ::step] = jittered(above)
        step, wibble = half, wibble / decay
    heights -= heights.min()
    unit: Image = heights / heights.max()
    return unit
