"""NumPy archives (.npz), read without pickle and without trusting a header.

Arrays by name: images and labels; or x_train, y_train, x_test, y_test, as Keras writes them; or
train_images, train_labels, test_images, test_labels; and, if wanted, classes: their names.
"""

# N images, C channels, H W pixels

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from torchkeep.data.config import CHANNELS, Caps
from torchkeep.data.npy import read_npy_header
from torchkeep.data.raw import RawData, RawSplit
from torchkeep.data.stream import Readable
from torchkeep.data.zip_file import opened_member, opened_zip
from torchkeep.errors import DataError

_NAMINGS = (
    (("x_train", "y_train"), ("x_test", "y_test")),
    (("train_images", "train_labels"), ("test_images", "test_labels")),
    (("images", "labels"), None),
)
_LONGEST_CLASS_NAME = 256


def read_npz(path: Path, caps: Caps) -> RawData:
    """Read the images and labels of an archive. Raises `DataError`."""
    caps.check_file(path)
    with opened_zip(path) as zip_file:
        archive = _Archive(path, zip_file, caps)
        train, test = archive.naming()
        return RawData(
            archive.read_split(*train),
            archive.read_split(*test) if test and archive.has(*test) else None,
            archive.read_classes() if archive.has("classes") else None,
        )


@dataclass(frozen=True, slots=True)
class _Archive:
    path: Path
    zip_file: zipfile.ZipFile
    caps: Caps

    def names(self) -> list[str]:
        return [PurePosixPath(name).stem for name in self.zip_file.namelist()]

    def has(self, *names: str) -> bool:
        """Tell if any of the arrays is there."""
        return not set(names).isdisjoint(self.names())

    def naming(self) -> tuple[tuple[str, str], tuple[str, str] | None]:
        """Return the names of the train and of the test arrays."""
        for train, test in _NAMINGS:
            if self.has(*train):
                return train, test
        fault = f"holds {', '.join(map(repr, self.names()[:8])) or 'nothing'}"
        known = " or ".join("/".join(train) for train, _ in _NAMINGS)
        raise DataError(self.path, fault, f"the arrays {known}")

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[Readable, Path]]:
        """Yield the content of one array, and the path that names it in an error."""
        try:
            member = self.zip_file.getinfo(f"{name}.npy")
        except KeyError:
            raise DataError(self.path, f"has no array {name!r}", "images and labels") from None
        with opened_member(self.zip_file, member) as content:
            yield content, self.path / f"{name}.npy"

    def read_split(self, images_name: str, labels_name: str) -> RawSplit:
        with self.opened(images_name) as (content, images_path):
            images = _read_images(content, images_path, self.caps)
        with self.opened(labels_name) as (content, labels_path):
            labels = _read_labels(content, labels_path, self.caps)
        return RawSplit(images, labels, images_path, labels_path)

    def read_classes(self) -> tuple[str, ...]:
        with self.opened("classes") as (content, path):
            header = read_npy_header(content, path)
            if header.dtype.kind != "U" or len(header.shape) != 1:
                raise DataError(path, f"{header.dtype} of shape {header.shape}", "a list of texts")
            if header.dtype.itemsize > 4 * _LONGEST_CLASS_NAME:
                raise DataError(path, "very long names", f"at most {_LONGEST_CLASS_NAME} letters")
            self.caps.check_classes(path, header.shape[0])
            return tuple(str(name) for name in header.read_values(content, path))


def _read_images(content: Readable, path: Path, caps: Caps) -> NDArray[np.uint8]:
    header = read_npy_header(content, path)
    if header.dtype != np.uint8:
        raise DataError(path, f"{header.dtype} values", "uint8, 0 to 255")
    if _is_grey(path, header.shape):
        n, height, width = header.shape
        caps.check_images(path, (n, 1, height, width))
        images = header.read_values(content, path)[:, np.newaxis]
    elif header.shape[1] in CHANNELS:
        caps.check_images(path, header.shape)
        images = header.read_values(content, path)
    else:
        n, height, width, channels = header.shape
        caps.check_images(path, (n, channels, height, width))
        images = header.read_values(content, path).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images)


def _is_grey(path: Path, shape: tuple[int, ...]) -> bool:
    """Tell N H W from images with a channel dimension. Raises `DataError` where it is unclear."""
    if len(shape) == 3:
        return True
    if len(shape) != 4:
        raise DataError(path, f"values of shape {shape}", "N H W, N C H W or N H W C")
    if (shape[1] in CHANNELS) == (shape[3] in CHANNELS):
        fault = f"shape {shape}: which dimension is the channels cannot be told"
        raise DataError(path, fault, "1 or 3 channels, first or last")
    return False


def _read_labels(content: Readable, path: Path, caps: Caps) -> NDArray[np.int64]:
    header = read_npy_header(content, path)
    n, *rest = header.shape or (0, 0)
    if header.dtype.kind not in "iu" or rest not in ([], [1]):
        fault = f"{header.dtype} values of shape {header.shape}"
        raise DataError(path, fault, "whole numbers, one an image")
    if n > caps.images:
        raise DataError(path, f"{n:,} labels", f"at most {caps.images:,}")
    return header.read_values(content, path).reshape(-1).astype(np.int64)
