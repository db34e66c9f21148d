"""Which images of a data set are left out of training: what `torchkeep scan-poison --drop` writes.

A file of one is a JSON object:

    {"format": "torchkeep cleaned index 1", "dataset_digest": "87357a…", "images": 60000,
     "dropped": [3, 17]}
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from torchkeep.atomic_file import write_atomic
from torchkeep.data.dataset import Dataset, ImageSet, digest_of, part_arrays, part_hash
from torchkeep.errors import DataError

FORMAT = "torchkeep cleaned index 1"
MAX_BYTES = 64 * 1024 * 1024
MAX_IMAGES = 2**31

_KEYS = frozenset({"format", "dataset_digest", "images", "dropped"})
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EXPECTED = "an index that `torchkeep scan-poison --drop` wrote"


@dataclass(frozen=True, slots=True)
class CleanedIndex:
    """The places, in the train images of one data set, of those to leave out.

    `dropped` ascends. Raises `DataError` if it does not, or leaves nothing.
    """

    dataset_digest: str
    images: int
    dropped: tuple[int, ...]

    def __post_init__(self) -> None:
        fault = _fault(self.dataset_digest, self.images, self.dropped)
        if fault:
            raise DataError("cleaned index", fault, _EXPECTED)

    def __len__(self) -> int:
        return len(self.dropped)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "format": FORMAT,
            "dataset_digest": self.dataset_digest,
            "images": self.images,
            "dropped": list(self.dropped),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, object]) -> CleanedIndex:
        """Read what `to_json` wrote. Raises `DataError` on anything else."""
        return _parsed(raw, "cleaned index")

    @classmethod
    def read(cls, path: Path) -> CleanedIndex:
        """Read an index file. Raises `DataError` that names it and its fault."""
        try:
            if path.stat().st_size > MAX_BYTES:
                raise DataError(path, f"more than {MAX_BYTES:,} bytes", _EXPECTED)
            content = path.read_bytes()
        except OSError as error:
            fault = f"cannot be read: {error.strerror}"
            raise DataError(path, fault, _EXPECTED) from error
        try:
            raw = json.loads(content, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise DataError(path, "is no JSON", _EXPECTED) from error
        return _parsed(raw, path)

    def write(self, path: Path) -> None:
        """Write the index, whole or not at all."""
        write_atomic(path, self.content)

    @property
    def content(self) -> bytes:
        """What a file of this index holds."""
        return json.dumps(self.to_json()).encode() + b"\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the file's content."""
        return hashlib.sha256(self.content).hexdigest()

    def apply(self, dataset: Dataset) -> Dataset:
        """Return the data set without the dropped images, under the digest of what is left.

        Raises `DataError` if the index is of another data set, or leaves no image of a class.
        """
        if (dataset.digest, len(dataset.train)) != (self.dataset_digest, self.images):
            raise DataError(
                dataset.source,
                f"has digest {dataset.digest[:12]}…",
                f"{self.dataset_digest[:12]}…, whose index this is",
                remedy="Scan this data: torchkeep scan-poison --drop FILE.",
            )
        if not self.dropped:
            return dataset
        train = dataset.train.subset(np.flatnonzero(self._kept()))
        _check_classes(dataset, train)
        hashes = {
            part: part_hash(array) for part, array in part_arrays(train, dataset.test).items()
        }
        digest = digest_of(dataset.classes, hashes)
        return Dataset(dataset.name, dataset.classes, train, dataset.test, digest, dataset.source)

    def _kept(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        kept = np.ones(self.images, np.bool_)
        kept[list(self.dropped)] = False
        return kept


def _parsed(raw: object, where: object) -> CleanedIndex:
    if not isinstance(raw, Mapping):
        raise DataError(where, "is no JSON object", _EXPECTED)
    if raw.get("format") != FORMAT:
        raise DataError(where, "is of another format", _EXPECTED)
    if raw.keys() != _KEYS:
        odd = sorted(str(key) for key in raw.keys() ^ _KEYS)
        raise DataError(where, f"lacks or adds {odd[0][:40]!r}", _EXPECTED)
    dropped = raw["dropped"]
    if not isinstance(dropped, list):
        raise DataError(where, "its 'dropped' is no list", _EXPECTED)
    digest, images = raw["dataset_digest"], raw["images"]
    fault = _fault(digest, images, dropped)
    if fault:
        raise DataError(where, fault, _EXPECTED)
    return CleanedIndex(digest, images, tuple(dropped))


def _fault(digest: object, images: object, dropped: list[Any] | tuple[Any, ...]) -> str | None:
    """Return what is wrong with the parts of an index, if anything is."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        return "its 'dataset_digest' is no SHA-256"
    if type(images) is not int or not 1 <= images <= MAX_IMAGES:
        return "its 'images' is no count"
    if any(type(place) is not int for place in dropped):
        return "its 'dropped' holds what is no whole number"
    if any(after <= before for before, after in pairwise(dropped)):
        return "its 'dropped' does not ascend"
    if dropped and (dropped[0] < 0 or dropped[-1] >= images):
        return f"its 'dropped' names a place outside 0 to {images - 1}"
    return "it leaves no image" if len(dropped) == images else None


def _check_classes(dataset: Dataset, train: ImageSet) -> None:
    classes = len(dataset.classes)
    before = np.bincount(dataset.train.labels, minlength=classes)
    lost = np.flatnonzero((before > 0) & (np.bincount(train.labels, minlength=classes) == 0))
    if len(lost):
        raise DataError(
            dataset.source,
            f"without the dropped images class {dataset.classes[lost[0]]!r} has none",
            "an image of each class",
            remedy="Look at the report: a class that is dropped whole needs new data.",
        )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
