"""Images in folders, one folder a class; `train/` and `test/` above them if they are there."""

# N images, C channels, H W pixels

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchkeep.data.config import Caps
from torchkeep.data.image_file import channels_of, opened_image
from torchkeep.data.raw import RawData, RawSplit
from torchkeep.data.shuffle import shuffled
from torchkeep.errors import DataError

_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
_SPLITS = ("test", "train")
_LITTER = ("Thumbs.db", "desktop.ini")

LabelledFiles = Sequence[tuple[Path, int]]


def read_image_folder(root: Path, caps: Caps, resize: int | None = None) -> RawData:
    """Read the images below `root`; with `resize`, bring each to that many pixels a side.

    All are grey if all files are, else all have three channels; transparency is dropped. They are
    ordered by class and name and then shuffled by a fixed seed, so that the first few of a split
    are of all classes. Raises `DataError`.
    """
    train, test = _split_folders(root)
    classes = tuple(folder.name for folder in _entries(train))
    caps.check_classes(train, len(classes))
    files = {folder: _labelled_files(folder, classes, caps) for folder in (train, test) if folder}
    shape = _common_shape([file for part in files.values() for file, _ in part], caps, resize)
    splits = [_decode(folder, part, shape, caps) for folder, part in files.items()]
    return RawData(splits[0], splits[1] if test else None, classes)


def _split_folders(root: Path) -> tuple[Path, Path | None]:
    """Return the folder of the train and, if there is one, of the test images."""
    names = [entry.name for entry in _entries(root)]
    if not set(names) & set(_SPLITS):
        return root, None
    strange = [name for name in names if name not in _SPLITS]
    if strange:
        expected = "only train/ and test/, or only class folders"
        raise DataError(root / strange[0], "lies beside train/ or test/", expected)
    return root / "train", root / "test" if "test" in names else None


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder by name, without hidden files and what file managers leave."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(folder, f"cannot be read: {error.strerror}", "a folder") from error
    return [entry for entry in entries if entry.name[0] != "." and entry.name not in _LITTER]


def _labelled_files(root: Path, classes: Sequence[str], caps: Caps) -> LabelledFiles:
    """Return every image file below the class folders of `root` with its label, shuffled."""
    files: list[tuple[Path, int]] = []
    labels = {name: label for label, name in enumerate(classes)}
    for folder in _entries(root):
        if not folder.is_dir():
            raise DataError(folder, "lies beside class folders", "one folder a class, nothing else")
        if folder.name not in labels:
            raise DataError(folder, "is a class that train/ has not", "the classes of train/")
        files += [(file, labels[folder.name]) for file in _image_files(folder)]
        if len(files) > caps.images:
            raise DataError(root, "holds too many images", f"at most {caps.images:,} (max_images)")
    return [files[index] for index in shuffled(len(files), seed=0)]


def _image_files(folder: Path) -> list[Path]:
    files = _entries(folder)
    kinds = " ".join(_SUFFIXES)
    if not files:
        raise DataError(folder, "holds no image", f"at least one, {kinds}")
    for file in files:
        if file.suffix.lower() not in _SUFFIXES:
            raise DataError(file, "is not an image by its name", f"only {kinds} in a class folder")
    return files


def _common_shape(files: Sequence[Path], caps: Caps, resize: int | None) -> tuple[int, int, int]:
    """Read the headers of all files and return the C, H, W that all images will have."""
    channels: int = 1
    size: tuple[int, int] | None = (resize, resize) if resize else None
    for file in files:
        with opened_image(file, caps) as image:
            channels = max(channels, channels_of(file, image))
            size = size or image.size
            if not resize and image.size != size:
                raise DataError(
                    file,
                    f"{image.width} x {image.height} pixels",
                    f"{size[0]} x {size[1]}, as the others",
                    remedy="Set resize in [data] (TORCHKEEP_DATA_RESIZE) to bring all to one size.",
                )
    width, height = size or (0, 0)
    return channels, height, width


def _decode(
    folder: Path, files: LabelledFiles, shape: tuple[int, int, int], caps: Caps
) -> RawSplit:
    caps.check_images(folder, (len(files), *shape))
    images = np.empty((len(files), *shape), np.uint8)
    for pixels, (file, _) in zip(images, files, strict=True):
        pixels[:] = _pixels(file, shape, caps)
    labels = np.array([label for _, label in files], np.int64)
    return RawSplit(images, labels, folder, folder)


def _pixels(file: Path, shape: tuple[int, int, int], caps: Caps) -> NDArray[np.uint8]:
    channels, height, width = shape
    with opened_image(file, caps) as image:
        converted = image.convert("L" if channels == 1 else "RGB")
        if converted.size != (width, height):
            converted = converted.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(converted).reshape(height, width, channels).transpose(2, 0, 1)
