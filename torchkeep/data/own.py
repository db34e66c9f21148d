"""The user's own data: an image folder, idx files, a NumPy archive or CIFAR-10 binary batches."""

from __future__ import annotations

from pathlib import Path

from torchkeep.data.cifar_binary import read_cifar_batches, read_cifar_folder
from torchkeep.data.config import DataConfig
from torchkeep.data.dataset import Dataset, digest_of, part_arrays, part_hash
from torchkeep.data.idx_folder import find_idx_images, read_idx_folder, read_idx_pair
from torchkeep.data.image_folder import read_image_folder
from torchkeep.data.npz import read_npz
from torchkeep.data.raw import RawData
from torchkeep.data.splits import with_test
from torchkeep.errors import DataError

_KINDS = "class folders of images, idx files, an .npz archive or CIFAR-10 .bin batches"


def load_own(path: Path, config: DataConfig) -> Dataset:
    """Read the data set at `path`, a file or a folder, and set a test split aside if it has none.

    Raises `DataError` that names the file at fault.
    """
    raw = _read_folder(path, config) if path.is_dir() else _read_file(path, config)
    classes = raw.class_names(config.caps)
    splits = raw.checked(len(classes))
    train, test = with_test(*splits, share=config.test_share, seed=config.test_seed)
    if len(test) == 0:
        raise DataError(path, f"{len(train)} images, no two of a class", "some to test on")
    hashes = {part: part_hash(array) for part, array in part_arrays(train, test).items()}
    where = path.resolve()
    name = where.name if path.is_dir() else where.stem
    return Dataset(name, classes, train, test, digest_of(classes, hashes), str(where))


def _read_folder(folder: Path, config: DataConfig) -> RawData:
    if find_idx_images(folder):
        return read_idx_folder(folder, config.caps)
    if any(folder.glob("*.bin")):
        return read_cifar_folder(folder, config.caps)
    if any(entry.is_dir() for entry in folder.iterdir()):
        return read_image_folder(folder, config.caps, config.resize)
    raise DataError(folder, "holds no data set", _KINDS)


def _read_file(path: Path, config: DataConfig) -> RawData:
    if path.suffix == ".npz":
        return read_npz(path, config.caps)
    if path.suffix == ".bin":
        return RawData(read_cifar_batches([path], config.caps))
    if "idx" in path.name and "images" in path.name:
        return RawData(read_idx_pair(path, config.caps))
    raise DataError(path, "is of an unknown kind", _KINDS)
