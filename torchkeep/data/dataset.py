"""Labelled images in memory, and the digest that identifies them."""

# N images, C channels, H W pixels

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchkeep.data.idx import idx_header

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
PartArray = NDArray[np.uint8] | NDArray[np.int32]

PARTS = ("train-images", "train-labels", "test-images", "test-labels")
"""The four arrays a data set consists of, in the order of its digest."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Images (N C H W, 0 to 255) and their labels (N, index into the classes)."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def subset(self, indices: NDArray[np.int64] | Sequence[int]) -> ImageSet:
        """Return a copy of the images at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return ImageSet(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set with its test split; `digest` is the SHA-256 that `digest_of` gives."""

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    digest: str
    source: str


def part_arrays(train: ImageSet, test: ImageSet) -> dict[str, PartArray]:
    """Return the four arrays in canonical form: what is hashed, and what the cache keeps.

    Grey images are N H W, others N C H W; labels are uint8, or int32 beyond 256 classes.
    """
    arrays = (_images(train), _labels(train), _images(test), _labels(test))
    return dict(zip(PARTS, arrays, strict=True))


def part_hash(array: PartArray) -> str:
    """Return the SHA-256 of an array written as an idx file."""
    digest = hashlib.sha256(idx_header(array))
    digest.update(array.data)
    return digest.hexdigest()


def digest_of(classes: Sequence[str], hashes: Mapping[str, str]) -> str:
    """Return the digest of a data set: SHA-256 over its classes and the hashes of its parts.

    It depends on nothing else: neither on the files' names and packing nor on where they came from.
    """
    content = {"classes": list(classes), "parts": [hashes[part] for part in PARTS]}
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _images(split: ImageSet) -> NDArray[np.uint8]:
    images = split.images[:, 0] if split.images.shape[1] == 1 else split.images
    return np.ascontiguousarray(images)


def _labels(split: ImageSet) -> PartArray:
    if int(split.labels.max()) < 256:
        return split.labels.astype(np.uint8)
    return split.labels.astype(">i4")
