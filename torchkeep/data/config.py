"""Settings of the data loader, and the caps that every parser keeps to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torchkeep.errors import DataError, SettingsError
from torchkeep.paths import Home

CHANNELS = (1, 3)
TEST_SHARE = 0.15
"""Share set aside of a data set that comes without a test split."""
TEST_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """How large a data set may be; checked against what a header claims, before it is believed."""

    images: int
    pixels: int
    bytes: int
    classes: int

    def check_file(self, path: Path) -> int:
        """Return the file's size in bytes. Raises `DataError` if it is missing or too large."""
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DataError(path, f"cannot be read: {error.strerror}", "a data file") from error
        if not path.is_file():
            raise DataError(path, "is not a file", "a data file")
        self.check_bytes(path, size)
        return size

    def check_bytes(self, path: Path, size: int) -> None:
        """Raise `DataError` if `size` bytes are more than may be held in memory."""
        if size > self.bytes:
            raise _too_much(path, f"{size:,} bytes", f"at most {self.bytes:,}", "max_bytes")

    def check_images(self, path: Path, shape: Sequence[int]) -> None:
        """Raise `DataError` unless uint8 images of `shape` (N C H W) are within the caps."""
        n, channels, height, width = shape
        if min(shape) < 1:
            raise DataError(path, f"images of shape {tuple(shape)}", "no dimension of 0")
        if channels not in CHANNELS:
            raise DataError(path, f"{channels} channels", "1 (grey) or 3 (red, green, blue)")
        if n > self.images:
            raise _too_much(path, f"{n:,} images", f"at most {self.images:,}", "max_images")
        self.check_pixels(path, height, width)
        self.check_bytes(path, math.prod(shape))

    def check_pixels(self, path: Path, height: int, width: int) -> None:
        """Raise `DataError` if one image has more pixels than may be decoded."""
        if height * width > self.pixels:
            fault = f"an image of {width:,} x {height:,} pixels"
            raise _too_much(path, fault, f"at most {self.pixels:,} pixels", "max_pixels")

    def check_classes(self, path: Path, classes: int) -> None:
        """Raise `DataError` unless there are at least two and not too many classes."""
        if classes < 2:
            raise DataError(path, f"{classes} class(es)", "at least 2")
        if classes > self.classes:
            raise _too_much(
                path, f"{classes:,} classes", f"at most {self.classes:,}", "max_classes"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Section `[data]`: where data sets are kept, and how large they may be."""

    directory: Path | None = None
    """Where verified copies are kept, one folder a data set; None: `data` in Torchkeep's home."""
    max_images: int = 2_000_000
    max_pixels: int = 64_000_000
    """Pixels of one image, before it is decoded."""
    max_bytes: int = 4 * 1024**3
    """Bytes of one file, and of one split's images in memory."""
    max_classes: int = 10_000
    max_download_bytes: int = 512 * 1024**2
    """Bytes of one download, packed and unpacked."""
    download_timeout_s: int = 3600
    resize: int | None = None
    """Side, in pixels, that the images of an image folder are brought to; None: none is changed."""
    test_share: float = TEST_SHARE
    """Share of the user's own images that is set aside if they come without a test split."""
    test_seed: int = TEST_SEED

    def __post_init__(self) -> None:
        for name in ("images", "pixels", "bytes", "classes", "download_bytes"):
            _positive(f"max_{name}", getattr(self, f"max_{name}"))
        _positive("download_timeout_s", self.download_timeout_s)
        if self.resize is not None:
            _positive("resize", self.resize)
        if not 0 < self.test_share < 1:
            raise SettingsError(
                f"[data] test_share is {self.test_share}", remedy="Give a share between 0 and 1."
            )
        if self.test_seed < 0:
            raise SettingsError(f"[data] test_seed is {self.test_seed}", remedy="Give 0 or more.")

    def folder(self, name: str) -> Path:
        """The folder of the verified copy of one data set."""
        return (self.directory or Home.default().data) / name

    @property
    def caps(self) -> Caps:
        return Caps(
            images=self.max_images,
            pixels=self.max_pixels,
            bytes=self.max_bytes,
            classes=self.max_classes,
        )


def _positive(key: str, value: int) -> None:
    if value < 1:
        raise SettingsError(f"[data] {key} is {value}", remedy="Give 1 or more.")


def _too_much(path: Path, fault: str, expected: str, key: str) -> DataError:
    remedy = f"Raise {key} in [data] if this is meant."
    return DataError(path, fault, expected, remedy=remedy)
