"""A training set out of data again, and two training sets beside each other."""

# N images

from __future__ import annotations

import io
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torchkeep.atomic_file import write_atomic
from torchkeep.data.dataset import Dataset, ImageSet
from torchkeep.data.training_set import Hashes, TrainingSet, image_hashes
from torchkeep.errors import DataError

NAMED = 5
"""How many images an error names."""

Key = tuple[bytes, str]
"""An image's hash, and the name of its class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How many images two training sets share, and how many they do not."""

    kept: int
    added: int
    removed: int
    relabelled: int

    def to_json(self) -> dict[str, int]:
        """Return plain JSON values."""
        return asdict(self)


def rebuild(wanted: TrainingSet, dataset: Dataset) -> ImageSet:
    """Return the images of a training set, in its order and with its labels, out of `dataset`.

    Images are found by their hashes, wherever they now lie in the data, the test split included.
    Raises `DataError` that tells how many are missing or have another label, and the first of them.
    """
    parts = (dataset.train, dataset.test)
    images = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    everything = ImageSet(images, labels)
    keys = _keys(image_hashes(everything), labels, dataset.classes)
    places = _places(wanted, keys)
    if absent := np.flatnonzero(places < 0).tolist():
        raise _fault(wanted, absent, keys, dataset)
    return ImageSet(images[places], wanted.labels.copy())


def compare(before: TrainingSet, after: TrainingSet) -> Difference:
    """Tell what became of the images of one training set in another."""
    old, new = (Counter(_keys(each.hashes, each.labels, each.classes)) for each in (before, after))
    gone, come = old - new, new - old
    relabelled = _of_images(gone) & _of_images(come)
    return Difference(
        kept=(old & new).total(),
        added=come.total() - relabelled.total(),
        removed=gone.total() - relabelled.total(),
        relabelled=relabelled.total(),
    )


def write_npz(path: Path, images: ImageSet, classes: tuple[str, ...]) -> None:
    """Write a NumPy archive that `load_dataset` reads: images, labels and the names of classes."""
    pixels = images.images[:, 0] if images.shape[0] == 1 else images.images
    content = io.BytesIO()
    np.savez(content, images=pixels, labels=images.labels, classes=np.array(classes))
    write_atomic(path, content.getvalue())


def _keys(hashes: Hashes, labels: NDArray[np.int64], classes: tuple[str, ...]) -> list[Key]:
    pairs = zip(hashes, labels.tolist(), strict=True)
    return [(row.tobytes(), classes[label]) for row, label in pairs]


def _places(wanted: TrainingSet, keys: list[Key]) -> NDArray[np.int64]:
    """Return where each wanted image lies (N); -1 if it does not. No place is given twice."""
    found = np.full(len(wanted), -1, np.int64)
    asked = _keys(wanted.hashes, wanted.labels, wanted.classes)
    for number, (index, key) in enumerate(zip(wanted.indices.tolist(), asked, strict=True)):
        if index < len(keys) and keys[index] == key:
            found[number] = index
    free = defaultdict(list)
    taken = set(found.tolist())
    for place in reversed(range(len(keys))):
        if place not in taken:
            free[keys[place]].append(place)
    for number in np.flatnonzero(found < 0).tolist():
        if left := free.get(asked[number]):
            found[number] = left.pop()
    return found


def _of_images(keys: Counter[Key]) -> Counter[bytes]:
    """Count images whatever their labels."""
    images: Counter[bytes] = Counter()
    for (image, _), count in keys.items():
        images[image] += count
    return images


def _fault(wanted: TrainingSet, absent: list[int], keys: list[Key], dataset: Dataset) -> DataError:
    labels = defaultdict(set)
    for image, label in keys:
        labels[image].add(label)
    asked = _keys(wanted.hashes[absent], wanted.labels[absent], wanted.classes)
    relabelled = sum(bool(labels[image] - {label}) for image, label in asked)
    first = ", ".join(str(wanted.indices[number]) for number in absent[:NAMED])
    more = ", …" if len(absent) > NAMED else ""
    return DataError(
        dataset.source,
        f"of {len(wanted)} images {len(absent) - relabelled} are missing or changed and "
        f"{relabelled} have another label; the first lay at {first}{more}",
        f"the images of {wanted.dataset} with digest {wanted.dataset_digest[:12]}…",
        remedy="Give the data it was trained on with --data.",
    )
