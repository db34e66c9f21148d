"""The verified copy of a known data set: four plain idx files and a manifest, whole or not there.

Files are checked against the catalogue's pins when they are written and each time they are read.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torchkeep.atomic_file import atomic_directory, sha256_file
from torchkeep.data.catalogue import Source
from torchkeep.data.config import TEST_SEED, TEST_SHARE, Caps
from torchkeep.data.dataset import Dataset, ImageSet, PartArray, digest_of, part_arrays, part_hash
from torchkeep.data.idx import idx_header, read_idx_images, read_idx_labels
from torchkeep.data.raw import RawData
from torchkeep.data.splits import with_test
from torchkeep.errors import DataError

_MANIFEST = "manifest.json"


def write_cache(source: Source, raw: RawData, label: str, folder: Path) -> None:
    """Check the arrays of a data set against its pins and keep them in `folder`, all or none.

    Raises `DataError` if they are not what they should be, `OSError` if they cannot be written.
    """
    train, test = with_test(*raw.checked(len(source.classes)), share=TEST_SHARE, seed=TEST_SEED)
    arrays = part_arrays(train, test)
    for part, array in arrays.items():
        _check_pin(source, part, part_hash(array), raw.path_of(part))
    manifest = {
        "name": source.name,
        "source": label,
        "digest": digest_of(source.classes, source.pins),
        "sha256": dict(source.pins),
    }
    _check_ours(folder, arrays)
    with atomic_directory(folder) as scratch:
        for part, array in arrays.items():
            _write_idx(scratch / f"{part}.idx", array)
        (scratch / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def _check_ours(folder: Path, parts: Iterable[str]) -> None:
    """Refuse to replace a folder that holds anything but an earlier copy."""
    ours = {_MANIFEST, *(f"{part}.idx" for part in parts)}
    foreign = sorted({path.name for path in folder.glob("*")} - ours)
    if foreign:
        raise DataError(
            folder,
            f"holds {foreign[0]!r}, which is none of ours",
            "an earlier copy of the data set, or nothing",
            remedy="Set `directory` in [data] to a folder of Torchkeep's own.",
        )


def read_cache(source: Source, folder: Path, caps: Caps) -> Dataset:
    """Read and verify the copy in `folder`. Raises `DataError` that says how to mend it."""
    try:
        train = _read_split(source, "train", folder, caps)
        test = _read_split(source, "test", folder, caps)
        label = _read_label(folder / _MANIFEST)
    except DataError as error:
        again = f"Delete {folder} and run `torchkeep data {source.name}` again."
        remedy = error.remedy or again
        raise DataError(error.path, error.fault, error.expected, remedy=remedy) from error
    digest = digest_of(source.classes, source.pins)
    return Dataset(source.name, source.classes, train, test, digest, label)


@contextmanager
def fetching(folder: Path) -> Iterator[Path]:
    """Yield an empty scratch folder beside `folder`, to one process at a time.

    It is removed at the end, on Ctrl-C too; what a killed process left is removed at the start.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(f".{folder.name}.fetching")
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in folder.parent.glob(f".{folder.name}.*/"):
            shutil.rmtree(stale, ignore_errors=True)
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _read_split(source: Source, split: str, folder: Path, caps: Caps) -> ImageSet:
    images, labels = (folder / f"{split}-{kind}.idx" for kind in ("images", "labels"))
    for path in (images, labels):
        caps.check_file(path)
        _check_pin(source, path.stem, sha256_file(path), path)
    return ImageSet(read_idx_images(images, caps), read_idx_labels(labels, caps))


def _check_pin(source: Source, part: str, found: str, path: Path) -> None:
    pin = source.pins[part]
    if found != pin:
        expected = f"{pin[:16]}…, the {part} of {source.name}"
        raise DataError(path, f"its content has SHA-256 {found[:16]}…", expected)


def _read_label(manifest: Path) -> str:
    try:
        return str(json.loads(manifest.read_bytes())["source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(manifest, f"cannot be read: {error}", "a JSON object") from error


def _write_idx(path: Path, array: PartArray) -> None:
    with path.open("wb") as file:
        file.write(idx_header(array))
        file.write(array.data)
        file.flush()
        os.fsync(file.fileno())
