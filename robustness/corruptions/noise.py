"""Noise of sensors and wires: Gaussian, shot, impulse, speckle.

Shapes: C H W an image of float64 in 0..1; results may leave that range and are clipped later.
Definitions: Hendrycks and Dietterich (2019), CIFAR-10-C.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


def gaussian_noise(
    image: NDArray[np.float64], sigma: float, random: Generator
) -> NDArray[np.float64]:
    """Add normal noise of standard deviation `sigma`."""
    return image + random.normal(scale=sigma, size=image.shape)


def shot_noise(
    image: NDArray[np.float64], photons: float, random: Generator
) -> NDArray[np.float64]:
    """Count Poisson photons, `photons` of them a white pixel."""
    return random.poisson(image * photons) / photons


def impulse_noise(
    image: NDArray[np.float64], share: float, random: Generator
) -> NDArray[np.float64]:
    """Turn a `share` of the values to 0 or 1, either alike."""
    struck = random.random(image.shape) <= share
    salt = random.random(image.shape) <= 0.5
    return np.where(struck, salt.astype(np.float64), image)


def speckle_noise(
    image: NDArray[np.float64], sigma: float, random: Generator
) -> NDArray[np.float64]:
    """Multiply by 1 + normal noise of standard deviation `sigma`."""
    return image * (1 + random.normal(scale=sigma, size=image.shape))
