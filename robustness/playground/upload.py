"""An uploaded image file made into one input of the model.

Shapes: C H W the model's input.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchkeep.data.config import Caps
from torchkeep.data.image_file import channels_of, opened_bytes
from torchkeep.errors import DataError, SettingsError

CAPS = Caps(images=1, pixels=16 * 1024 * 1024, bytes=8 * 1024 * 1024, classes=1)
NAME = Path("the upload")
"""What errors call it; there is no such file."""


def decode_upload(
    text: str, chw: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return base64 of an image file as uint8 C H W, and notes on what had to be changed.

    Raises `SettingsError` for what is no image, or a larger one than is decoded.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SettingsError("the upload is not base64", remedy="Reload the page.") from error
    try:
        with opened_bytes(NAME, content, CAPS) as image:
            return _fitted(image, chw)
    except DataError as error:
        raise SettingsError(f"{NAME}: {error.fault}", remedy=f"Give {error.expected}.") from error


def _fitted(
    image: Image.Image, chw: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    channels, height, width = chw
    notes = []
    if channels_of(NAME, image) != channels:
        notes.append("converted to grey" if channels == 1 else "converted to colour")
    converted = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        notes.append(f"resized from {image.width} × {image.height} to {width} × {height}")
        converted = converted.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.array(converted, dtype=np.uint8).reshape(height, width, channels)
    return pixels.transpose(2, 0, 1).copy(), tuple(notes)
