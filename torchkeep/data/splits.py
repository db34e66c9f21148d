"""The five disjoint splits of a data set, drawn by a seed and recorded."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchkeep.data.dataset import Dataset, ImageSet
from torchkeep.data.shuffle import shuffled
from torchkeep.errors import DataError, SettingsError

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSpec:
    """How the images that are not for testing are shared out; the rest is for training."""

    seed: int = 0
    validation: float = 0.03
    """Share of the images that are not for testing."""
    calibration_a: float = 0.06
    calibration_b: float = 0.06
    calibration_minimum: int = 320
    """A calibration split of a small data set is enlarged to this, or to a quarter of the images.

    A bound of 1 % on a rate of false positives, at 95 % confidence, needs 299 clean images.
    """

    def __post_init__(self) -> None:
        shares = (self.validation, self.calibration_a, self.calibration_b)
        if not all(0 < share < 1 for share in shares) or sum(shares) >= 1:
            raise SettingsError(
                f"split shares are {shares}", remedy="Give three above 0 with a sum below 1."
            )
        if self.seed < 0 or self.calibration_minimum < 0:
            fault = f"seed {self.seed} and calibration_minimum {self.calibration_minimum}"
            raise SettingsError(f"splits cannot have {fault}", remedy="Give 0 or more.")


@dataclass(frozen=True, slots=True)
class SplitRecord:
    """What is needed to draw the same splits again, and to prove that they are the same."""

    dataset: str
    spec: SplitSpec
    counts: dict[str, int]
    index_sha256: dict[str, str]
    """SHA-256 of each split's indices into the train images (test: the test images), int64."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as an object that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Five sets of images without an image in common."""

    train: ImageSet
    validation: ImageSet
    calibration_a: ImageSet
    calibration_b: ImageSet
    test: ImageSet
    record: SplitRecord
    train_indices: Indices
    """Places of the train images among the data set's train images."""


def split(dataset: Dataset, spec: SplitSpec | None = None) -> Splits:
    """Draw the splits of `dataset`. Raises `DataError` if it has too few images."""
    spec = spec or SplitSpec()
    indices = _draw(dataset, spec)
    everything = indices | {"test": np.arange(len(dataset.test), dtype=np.int64)}
    record = SplitRecord(
        dataset.digest,
        spec,
        {name: len(chosen) for name, chosen in everything.items()},
        {name: _sha256(chosen) for name, chosen in everything.items()},
    )
    drawn = {name: dataset.train.subset(chosen) for name, chosen in indices.items()}
    return Splits(**drawn, test=dataset.test, record=record, train_indices=indices["train"])


def with_test(
    train: ImageSet, test: ImageSet | None, *, share: float, seed: int
) -> tuple[ImageSet, ImageSet]:
    """Return the train and the test images; a missing test split is set aside from the others."""
    if test is not None:
        return train, test
    kept, taken = set_aside(train.labels, share, seed)
    return train.subset(kept), train.subset(taken)


def set_aside(labels: NDArray[np.int64], share: float, seed: int) -> tuple[Indices, Indices]:
    """Return the indices to keep and those to test on: `share` of each class, at least one of two.

    A class with a single image keeps it.
    """
    order = shuffled(len(labels), seed)
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    taken = np.minimum(np.maximum(np.rint(counts * share), 1), counts - 1).astype(np.int64)
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    is_test = np.empty(len(labels), dtype=bool)
    is_test[by_class] = rank < np.repeat(taken, counts)
    return order[~is_test[order]], order[is_test[order]]


def _draw(dataset: Dataset, spec: SplitSpec) -> dict[str, Indices]:
    """Return the indices into the train images of every split but the test split."""
    total = len(dataset.train)
    least = min(spec.calibration_minimum, total // 4)
    counts = {
        "validation": max(1, round(total * spec.validation)),
        "calibration_a": max(1, least, round(total * spec.calibration_a)),
        "calibration_b": max(1, least, round(total * spec.calibration_b)),
    }
    if sum(counts.values()) >= total:
        fault = f"{total} images besides those for testing"
        raise DataError(dataset.source, fault, "enough for training, validation and calibration")
    *parts, train = np.split(shuffled(total, spec.seed), np.cumsum(list(counts.values())))
    return {"train": train} | dict(zip(counts, parts, strict=True))


def _sha256(indices: Indices) -> str:
    return hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()
