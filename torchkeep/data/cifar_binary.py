"""The binary version of CIFAR-10: records of one label byte and 3 x 32 x 32 pixels.

https://www.cs.toronto.edu/~kriz/cifar.html
"""

# N images, C channels, H W pixels

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torchkeep.data.class_names import read_class_names
from torchkeep.data.config import Caps
from torchkeep.data.raw import RawData, RawSplit
from torchkeep.errors import DataError

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_HIGHEST_LABEL = 9
_NAMES_FILE = "batches.meta.txt"


def read_cifar_folder(folder: Path, caps: Caps) -> RawData:
    """Read all batches (`*.bin`) of a folder; `test` in a file's name makes it the test split.

    The names of the classes come from `batches.meta.txt`, if it is there. Raises `DataError`.
    """
    files = sorted(folder.glob("*.bin"))
    test = [file for file in files if "test" in file.name]
    train = [file for file in files if file not in test]
    if not train:
        raise DataError(folder, "holds no batch to train on", "data_batch_1.bin and its like")
    names = folder / _NAMES_FILE
    return RawData(
        read_cifar_batches(train, caps),
        read_cifar_batches(test, caps) if test else None,
        read_class_names(names, caps) if names.exists() else None,
    )


def read_cifar_batches(files: Sequence[Path], caps: Caps) -> RawSplit:
    """Read the records of `files` one after the other. Raises `DataError`."""
    counts = [_count_records(file, caps) for file in files]
    shape = (sum(counts), *_SHAPE)
    caps.check_images(files[0].parent, shape)
    images, labels = np.empty(shape, np.uint8), np.empty(shape[0], np.int64)
    start = 0
    for file, count in zip(files, counts, strict=True):
        records = _read_records(file, count)
        images[start : start + count] = records[:, 1:].reshape(count, *_SHAPE)
        labels[start : start + count] = records[:, 0]
        start += count
    return RawSplit(images, labels, files[0], files[0])


def _count_records(file: Path, caps: Caps) -> int:
    size = caps.check_file(file)
    if size == 0 or size % _RECORD:
        raise DataError(file, f"{size:,} bytes", f"a multiple of {_RECORD:,}: label and 3x32x32")
    return size // _RECORD


def _read_records(file: Path, count: int) -> NDArray[np.uint8]:
    try:
        records = np.fromfile(file, np.uint8, count * _RECORD).reshape(count, _RECORD)
    except (OSError, ValueError) as error:
        raise DataError(file, f"cannot be read: {error}", f"{count:,} records") from error
    highest = int(records[:, 0].max())
    if highest > _HIGHEST_LABEL:
        fault = f"a label of {highest}"
        raise DataError(file, fault, f"0 to {_HIGHEST_LABEL}, the first byte of each record")
    return records
