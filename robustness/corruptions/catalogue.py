"""The corruptions by name, and how to apply one to many images.

Shapes: N images, C H W each. Definitions and severities are those of CIFAR-10-C (Hendrycks and
Dietterich 2019, make_cifar_c.py), but for two things: values are rounded to bytes, not cut off, and
glass blur swaps pixels where the published code copied them. Left out: frost, which needs
photographs, and snow and spatter, which need routines of OpenCV that we could not compare with.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.corruptions.blur import (
    defocus_blur,
    gaussian_blur,
    glass_blur,
    motion_blur,
    zoom_blur,
)
from robustness.corruptions.digital import elastic_transform, jpeg_compression, pixelate
from robustness.corruptions.light import brightness, contrast, fog, saturate
from robustness.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from torchkeep.errors import SettingsError

SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST_SIDE = 8
"""Smaller images leave the kernels nothing to blur."""

Apply = Callable[[NDArray[np.float64], Any, np.random.Generator], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """One kind: what it does to an image (C H W in 0..1), and its parameter at each severity."""

    kind: str
    apply: Apply
    parameters: tuple[Any, Any, Any, Any, Any]
    colour_only: bool = False


_ALL = (
    Corruption(
        kind="gaussian_noise", apply=gaussian_noise, parameters=(0.04, 0.06, 0.08, 0.09, 0.10)
    ),
    Corruption(kind="shot_noise", apply=shot_noise, parameters=(500, 250, 100, 75, 50)),
    Corruption(
        kind="impulse_noise", apply=impulse_noise, parameters=(0.01, 0.02, 0.03, 0.05, 0.07)
    ),
    Corruption(
        kind="speckle_noise", apply=speckle_noise, parameters=(0.06, 0.10, 0.12, 0.16, 0.20)
    ),
    Corruption(kind="gaussian_blur", apply=gaussian_blur, parameters=(0.4, 0.6, 0.7, 0.8, 1.0)),
    Corruption(
        kind="defocus_blur",
        apply=defocus_blur,
        parameters=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
    ),
    Corruption(
        kind="glass_blur",
        apply=glass_blur,
        parameters=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    ),
    Corruption(
        kind="motion_blur",
        apply=motion_blur,
        parameters=((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
    ),
    Corruption(kind="zoom_blur", apply=zoom_blur, parameters=(1.05, 1.10, 1.15, 1.20, 1.25)),
    Corruption(kind="brightness", apply=brightness, parameters=(0.05, 0.10, 0.15, 0.20, 0.30)),
    Corruption(kind="contrast", apply=contrast, parameters=(0.75, 0.50, 0.40, 0.30, 0.15)),
    Corruption(
        kind="saturate",
        apply=saturate,
        parameters=((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
        colour_only=True,
    ),
    Corruption(
        kind="fog",
        apply=fog,
        parameters=((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
    ),
    Corruption(kind="pixelate", apply=pixelate, parameters=(0.95, 0.90, 0.85, 0.75, 0.65)),
    Corruption(kind="jpeg_compression", apply=jpeg_compression, parameters=(80, 65, 58, 50, 40)),
    Corruption(
        kind="elastic_transform",
        apply=elastic_transform,
        parameters=(
            (0.0, 0.0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.10, 0.04, 0.05),
            (0.10, 0.03, 0.03),
        ),
    ),
)

CORRUPTIONS: Mapping[str, Corruption] = {corruption.kind: corruption for corruption in _ALL}


def kinds_for(shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the kinds that images C H W can suffer; none unless they are grey or RGB."""
    channels, *sides = shape
    if channels not in (1, 3) or min(sides) < SMALLEST_SIDE:
        return ()
    return tuple(one.kind for one in _ALL if channels == 3 or not one.colour_only)


def corrupt(
    images: NDArray[np.uint8], kind: str, severity: int, *, seed: int, first: int = 0
) -> NDArray[np.uint8]:
    """Corrupt images (N C H W); `first` is the index of the first within the whole set.

    Randomness follows from seed, kind and an image's index, so blocks may be cut as one likes.
    Raises `SettingsError` for a kind these images cannot suffer, or another severity than 1 to 5.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise SettingsError(f"images of {images.dtype} {images.shape}, not uint8 N C H W")
    _, channels, height, width = images.shape
    possible = kinds_for((channels, height, width))
    if kind not in possible:
        raise SettingsError(
            f"no corruption {kind!r} of {channels} x {height} x {width} images",
            remedy=f"There are: {', '.join(possible) or 'none for this shape'}.",
        )
    if severity not in SEVERITIES:
        raise SettingsError(f"severity {severity}", remedy="Give one of 1 to 5.")
    parameter = CORRUPTIONS[kind].parameters[severity - 1]
    corrupted = np.empty_like(images)
    for place, image in enumerate(images):
        random = np.random.default_rng([seed, first + place, zlib.crc32(kind.encode())])
        result = CORRUPTIONS[kind].apply(image / 255.0, parameter, random)
        corrupted[place] = np.rint(result.clip(0, 1) * 255)
    return corrupted
