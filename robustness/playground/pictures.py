"""Pixels as files that a browser shows.

Shapes: C H W an image.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def to_uint8(image: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return an image in 0..1 as bytes, rounded."""
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image of one or three channels as a PNG file."""
    rows = pixels.transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(rows[:, :, 0] if rows.shape[2] == 1 else rows))
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def data_url(pixels: NDArray[np.uint8]) -> str:
    """Return an image as the address of itself."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def magnified(change: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float]:
    """Return a perturbation around grey, its largest pixel at full range, and by what factor."""
    largest = float(np.abs(change).max())
    factor = 0.5 / largest if largest else 1.0
    return to_uint8(0.5 + factor * change.astype(np.float64)), factor  # tiny ones overflow float32
