"""What the parsers give: arrays as read, with the files to name if they do not fit together."""

# N images, C channels, H W pixels

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torchkeep.data.config import Caps
from torchkeep.data.dataset import ImageSet
from torchkeep.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class RawSplit:
    """Images (N C H W, uint8) and labels, not yet checked against each other."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    images_path: Path
    labels_path: Path

    def checked(self, classes: int) -> ImageSet:
        """Return the images with their labels. Raises `DataError` if these do not fit."""
        if len(self.images) != len(self.labels):
            fault = f"{len(self.labels):,} labels"
            expected = f"{len(self.images):,}, one for each image of {self.images_path.name}"
            raise DataError(self.labels_path, fault, expected)
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= classes:
            fault = f"labels from {low} to {high}"
            raise DataError(self.labels_path, fault, f"0 to {classes - 1}: {classes} classes")
        return ImageSet(self.images, self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class RawData:
    """A data set as its files give it; `test` and `classes` (names) may be missing."""

    train: RawSplit
    test: RawSplit | None = None
    classes: tuple[str, ...] | None = None

    def path_of(self, part: str) -> Path:
        """Return the file that a part (`train-images`, say) was read from."""
        split, kind = part.split("-")
        raw = self.test if split == "test" and self.test else self.train
        return raw.images_path if kind == "images" else raw.labels_path

    def class_names(self, caps: Caps) -> tuple[str, ...]:
        """Return the names of the classes, else their numbers. Raises `DataError`."""
        names = self.classes
        if names is None:
            count = int(self.train.labels.max(initial=-1)) + 1
            caps.check_classes(self.train.labels_path, count)
            names = tuple(str(number) for number in range(count))
        if len(set(names)) < len(names) or not all(names):
            raise DataError(
                self.train.labels_path, "class names that repeat or are empty", "unique"
            )
        return names

    def checked(self, classes: int) -> tuple[ImageSet, ImageSet | None]:
        """Return the train and the test images. Raises `DataError` if they do not fit together."""
        train = self.train.checked(classes)
        if self.test is None:
            return train, None
        test = self.test.checked(classes)
        if test.shape != train.shape:
            fault = f"test images of shape {test.shape}"
            raise DataError(self.test.images_path, fault, f"{train.shape}, as the others")
        return train, test
