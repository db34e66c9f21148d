"""Which images a model version was trained on: for each its place, its label and its hash.

A file of one is a line that names the format, a line of JSON, and three arrays, little endian:
places (N int64), labels (N int32) and hashes (N of 32 bytes). Its SHA-256 is the set's digest. An
image's label stands beside its hash rather than in it, so that a new label can be told from a new
image.
"""

# N images, C channels, H W pixels, K classes

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from torchkeep.data.dataset import Dataset, ImageSet
from torchkeep.data.splits import Splits
from torchkeep.errors import DataError

MAGIC = b"torchkeep training set 1\n"
HASH_BYTES = 32
MAX_HEADER_BYTES = 16 * 1024 * 1024
_ROW_BYTES = 8 + 4 + HASH_BYTES
_TEXTS = ("dataset", "dataset_digest")

Hashes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSet:
    """Images by what they are, not by what they look like.

    `indices` (N) are places among the train images of the data set, `labels` (N) indices into
    `classes`, `hashes` (N 32) what `image_hashes` gives, `splits` the record of how the data were
    split, `cleaned` what is known of images that were left out before.
    """

    dataset: str
    dataset_digest: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    splits: Mapping[str, Any]
    cleaned: Mapping[str, Any] | None
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    hashes: Hashes

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(
        cls, dataset: Dataset, splits: Splits, *, cleaned: Mapping[str, Any] | None = None
    ) -> TrainingSet:
        """Describe the train images of `splits`, which were drawn from `dataset`."""
        if len(splits.train_indices) != len(splits.train):
            raise ValueError(f"{len(splits.train_indices)} places, {len(splits.train)} images")
        return cls(
            dataset=dataset.name,
            dataset_digest=dataset.digest,
            classes=dataset.classes,
            shape=splits.train.shape,
            splits=splits.record.to_json(),
            cleaned=cleaned,
            indices=splits.train_indices,
            labels=splits.train.labels,
            hashes=image_hashes(splits.train),
        )

    def counts(self) -> dict[str, int]:
        """Return how many images there are of each class."""
        found = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, found, strict=True))

    def to_bytes(self) -> bytes:
        """Return the content of a file; the same set gives the same bytes."""
        header = {
            "dataset": self.dataset,
            "dataset_digest": self.dataset_digest,
            "classes": list(self.classes),
            "shape": list(self.shape),
            "splits": dict(self.splits),
            "cleaned": self.cleaned,
            "images": len(self),
        }
        arrays = (self.indices.astype("<i8"), self.labels.astype("<i4"), self.hashes)
        lines = (MAGIC, orjson.dumps(header, option=orjson.OPT_SORT_KEYS), b"\n")
        return b"".join((*lines, *(array.tobytes() for array in arrays)))

    @classmethod
    def from_bytes(cls, content: bytes, path: Path) -> TrainingSet:
        """Read what `to_bytes` wrote. Raises `DataError` that names `path` on anything else."""
        if not content.startswith(MAGIC):
            raise DataError(path, "is none", "an archived training set, version 1")
        end = content.find(b"\n", len(MAGIC), len(MAGIC) + MAX_HEADER_BYTES)
        if end < 0:
            raise DataError(path, "ends within its header", "a line of JSON")
        header = _header(content[len(MAGIC) : end], path)
        count, found = header.pop("images"), len(content) - end - 1
        if found != count * _ROW_BYTES:
            raise DataError(path, f"{found:,} bytes of images", f"{count * _ROW_BYTES:,}")
        arrays = _arrays(memoryview(content)[end + 1 :], count)
        if count and not (arrays["indices"].min() >= 0 and _fit(arrays["labels"], header)):
            raise DataError(path, "an index or label out of bounds", "whole numbers from 0")
        return cls(**header, **arrays)


def image_hashes(images: ImageSet) -> Hashes:
    """Return the SHA-256 of each image, shape and pixels: N 32."""
    sides = np.array(images.shape, "<u4").tobytes()
    rows = np.ascontiguousarray(images.images).reshape(len(images), -1)
    joined = b"".join(hashlib.sha256(sides + row.tobytes()).digest() for row in rows)
    return np.frombuffer(joined, np.uint8).reshape(len(images), HASH_BYTES)


def _header(line: bytes, path: Path) -> dict[str, Any]:
    """Return the header's values, each of its type."""
    try:
        raw = orjson.loads(line)
        texts = {key: _typed(raw, key, str) for key in _TEXTS}
        classes, shape = _typed(raw, "classes", list), _typed(raw, "shape", list)
        cleaned = None if raw["cleaned"] is None else _typed(raw, "cleaned", dict)
        whole = all(type(side) is int and side > 0 for side in shape)
        if not whole or len(shape) != 3 or not all(isinstance(name, str) for name in classes):
            raise TypeError("classes must be texts, and shape three whole numbers")
        splits, count = _typed(raw, "splits", dict), _typed(raw, "images", int)
        if count < 0:
            raise ValueError("images must be 0 or more")
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(path, f"a header that does not fit ({error})", "that of a set") from error
    return {
        **texts,
        "classes": tuple(classes),
        "shape": tuple(shape),
        "splits": splits,
        "cleaned": cleaned,
        "images": count,
    }


def _typed(raw: Mapping[str, Any], key: str, kind: type) -> Any:
    if type(raw[key]) is not kind:
        raise TypeError(f"{key} must be a {kind.__name__}")
    return raw[key]


def _arrays(rows: memoryview, count: int) -> dict[str, Any]:
    places, labels = 8 * count, 4 * count
    hashes = np.frombuffer(rows[places + labels :], np.uint8)
    return {
        "indices": np.frombuffer(rows[:places], "<i8").astype(np.int64),
        "labels": np.frombuffer(rows[places : places + labels], "<i4").astype(np.int64),
        "hashes": hashes.reshape(count, HASH_BYTES),
    }


def _fit(labels: NDArray[np.int64], header: Mapping[str, Any]) -> bool:
    return bool(labels.min() >= 0 and labels.max() < len(header["classes"]))
