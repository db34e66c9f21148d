"""An image through JPEG and back, with Pillow.

Shapes: C H W an image of bytes.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress and decompress: three channels as RGB, any other number one by one as grey."""
    if len(image) == 3:
        return _round_trip(image.transpose(1, 2, 0), quality).transpose(2, 0, 1)
    return np.stack([_round_trip(channel, quality) for channel in image])


def _round_trip(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="jpeg", quality=quality)
    return np.asarray(Image.open(file), np.uint8)
