"""A data set as idx files: images and labels in pairs, told apart by their names."""

from __future__ import annotations

from pathlib import Path

from torchkeep.data.class_names import read_class_names
from torchkeep.data.config import Caps
from torchkeep.data.idx import read_idx_images, read_idx_labels
from torchkeep.data.raw import RawData, RawSplit
from torchkeep.errors import DataError

_NAMES_FILE = "classes.txt"


def read_idx_folder(folder: Path, caps: Caps) -> RawData:
    """Read the idx files of a folder, named as MNIST's are (`train-images-idx3-ubyte.gz`).

    `test` or `t10k` in a name makes it the test split. The names of the classes come from
    `classes.txt`, if it is there. Raises `DataError`.
    """
    images = find_idx_images(folder)
    test = [path for path in images if "test" in path.name or "t10k" in path.name]
    train = [path for path in images if path not in test]
    if len(train) != 1 or len(test) > 1:
        fault = f"holds {len(train)} idx files of train and {len(test)} of test images"
        raise DataError(folder, fault, "1 of train and at most 1 of test images")
    names = folder / _NAMES_FILE
    return RawData(
        read_idx_pair(train[0], caps),
        read_idx_pair(test[0], caps) if test else None,
        read_class_names(names, caps) if names.exists() else None,
    )


def find_idx_images(folder: Path) -> list[Path]:
    """Return the files that are idx images by their name; of a file and its .gz, the file."""
    found = {path for path in folder.glob("*images*") if "idx" in path.name and path.is_file()}
    twins = {path.with_name(f"{path.name}.gz") for path in found}
    return sorted(found - twins)


def read_idx_pair(images: Path, caps: Caps) -> RawSplit:
    """Read a file of images and the file of labels that is named after it. Raises `DataError`."""
    stem = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    found = [path for path in (images.parent / stem, images.parent / f"{stem}.gz") if path.exists()]
    if not found:
        raise DataError(images.parent / stem, "is missing", f"the labels of {images.name}")
    return RawSplit(
        read_idx_images(images, caps), read_idx_labels(found[0], caps), images, found[0]
    )
