"""What a version was trained on is kept, told apart, found again in the data, or missed by name."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.files import CAPS, FUZZ, damaged, refuses_or_reads, some_images
from torchkeep.data import (
    DataConfig,
    Dataset,
    ImageSet,
    TrainingSet,
    TrainingSets,
    archive_training_set,
    compare,
    load_dataset,
    rebuild,
    split,
)
from torchkeep.data.rebuilding import write_npz
from torchkeep.data.training_set import MAGIC, image_hashes
from torchkeep.data.training_sets import HISTORY
from torchkeep.errors import DataError, SettingsError
from torchkeep.paths import Home

CLASSES = ("cat", "dog", "zebra")
QUICK = settings(deadline=None, max_examples=60, derandomize=True)


def images(count: int, seed: int = 0, shape: tuple[int, ...] = (1, 4, 5)) -> ImageSet:
    return ImageSet(some_images(count, shape, seed), np.arange(count) % len(CLASSES))


def data(
    train: ImageSet, test: ImageSet | None = None, classes: Sequence[str] = CLASSES
) -> Dataset:
    return Dataset("pets", tuple(classes), train, test or images(6, seed=9), "0" * 64, "/data/pets")


def training_set(dataset: Dataset) -> TrainingSet:
    return TrainingSet.of(dataset, split(dataset))


@pytest.fixture
def archive(tmp_path: Path) -> TrainingSets:
    return TrainingSets.of(Home(tmp_path))


PETS = data(images(40))
WHOLE = training_set(PETS).to_bytes()


def test_what_is_written_is_what_is_read() -> None:
    splits = split(PETS)
    known = TrainingSet.of(PETS, splits, cleaned={"removed": [3]})
    again = TrainingSet.from_bytes(known.to_bytes(), Path("x"))
    assert again.to_bytes() == known.to_bytes()
    assert (again.dataset, again.dataset_digest) == ("pets", "0" * 64)
    assert (again.classes, again.shape, again.cleaned) == (CLASSES, (1, 4, 5), {"removed": [3]})
    assert again.splits == splits.record.to_json()
    np.testing.assert_array_equal(again.indices, splits.train_indices)
    np.testing.assert_array_equal(again.labels, splits.train.labels)
    counts = np.bincount(splits.train.labels)
    assert again.counts() == dict(zip(CLASSES, counts.tolist(), strict=True))


def test_places_are_those_of_the_train_images() -> None:
    splits = split(PETS)
    np.testing.assert_array_equal(PETS.train.images[splits.train_indices], splits.train.images)


def test_a_hash_is_that_of_shape_and_pixels() -> None:
    one = images(2, shape=(1, 4, 5))
    turned = ImageSet(one.images.reshape(2, 1, 5, 4), one.labels)
    changed = ImageSet(one.images.copy(), one.labels)
    changed.images[1, 0, 0, 0] ^= 1
    hashes = image_hashes(one)
    assert hashes.shape == (2, 32)
    assert not (image_hashes(turned) == hashes).all(1).any()
    assert (image_hashes(changed) == hashes).all(1).tolist() == [True, False]


@FUZZ
@given(content=damaged(WHOLE))
def test_any_bytes_are_a_training_set_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.set"
    refuses_or_reads(lambda: TrainingSet.from_bytes(path.read_bytes(), path), path, content, CAPS)


@FUZZ
@given(
    header=st.recursive(
        st.none() | st.booleans() | st.integers(-2, 10**30) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.fixed_dictionaries(
                {"classes": inner, "shape": inner, "splits": inner, "images": inner},
                optional={"cleaned": inner, "dataset": inner, "dataset_digest": inner},
            )
        ),
        max_leaves=12,
    ),
    rows=st.integers(0, 3),
)
def test_any_header_is_a_training_set_or_a_data_error(
    header: object, rows: int, tmp_path: Path
) -> None:
    content = MAGIC + json.dumps(header).encode() + b"\n" + bytes(44 * rows)
    path = tmp_path / "a.set"
    refuses_or_reads(lambda: TrainingSet.from_bytes(content, path), path, content, CAPS)


def test_a_header_nested_without_end_is_refused() -> None:
    with pytest.raises(DataError, match="a header that does not fit"):
        TrainingSet.from_bytes(MAGIC + b"[" * 100_000 + b"\n", Path("a.set"))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is none"),
        (WHOLE[: len(MAGIC) + 20], "ends within its header"),
        (WHOLE[:-1], "bytes of images"),
        (WHOLE + b"\0", "bytes of images"),
        (WHOLE[:-32] + b"", "bytes of images"),
        (WHOLE.replace(b'"classes":["cat","dog","zebra"]', b'"classes":["cat"]'), "out of bounds"),
        (WHOLE.replace(b'"shape":[1,4,5]', b'"shape":[1,4]'), "three whole numbers"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(content: bytes, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        TrainingSet.from_bytes(content, Path("a.set"))


def test_an_archived_set_is_found_by_version_and_by_digest(
    archive: TrainingSets, tmp_path: Path
) -> None:
    splits = split(PETS)
    digest = archive_training_set(Home(tmp_path), "pets", "1.0", PETS, splits)
    for wanted in ("1.0", "1.0~0", digest, digest[:8]):
        entry = archive.find("pets", wanted)
        assert (entry.version, entry.digest, entry.source) == ("1.0", digest, "/data/pets")
        known = archive.load("pets", entry)
        np.testing.assert_array_equal(known.hashes, image_hashes(splits.train))
    assert archive.models() == ["pets"]
    assert archive.before("pets", entry) is None


def test_the_same_set_is_archived_once(archive: TrainingSets) -> None:
    known = training_set(PETS)
    assert archive.add("pets", "1.0", known, "s") == archive.add("pets", "1.0", known, "s")
    assert archive.add("pets", "1.1", known, "s") == archive.find("pets", "1.0").digest
    assert [entry.version for entry in archive.history("pets")] == ["1.0", "1.1"]
    assert len(list((archive.folder / "pets").glob("*.set"))) == 1
    assert archive.before("pets", archive.find("pets", "1.1")) is None


def test_a_version_trained_anew_keeps_what_it_was_trained_on_before(archive: TrainingSets) -> None:
    former = archive.add("pets", "1.1", training_set(PETS), "s")
    newer = archive.add("pets", "1.1", training_set(data(images(50, seed=1))), "s")
    assert archive.find("pets", "1.1").digest == newer
    assert archive.find("pets", "1.1~1").digest == former
    assert archive.before("pets", archive.find("pets", "1.1")).digest == former
    assert len(archive.load("pets", archive.find("pets", former))) == len(training_set(PETS))
    with pytest.raises(SettingsError, match=r"Did you mean '1\.1'"):
        archive.find("pets", "1.1~2")


@pytest.mark.parametrize(
    ("model", "wanted", "told"),
    [
        ("pets", "1.3", "Did you mean '1.0'?"),
        ("pets", "1.0~x", "Did you mean '1.0'?"),
        ("pets", "abcdef12", "no training set of pets 'abcdef12'"),
        ("pet", "1.0", "Did you mean 'pets'?"),
        ("../pets", "1.0", "Did you mean 'pets'?"),
    ],
)
def test_what_was_never_archived_names_the_nearest(
    archive: TrainingSets, model: str, wanted: str, told: str
) -> None:
    archive.add("pets", "1.0", training_set(PETS), "s")
    with pytest.raises(SettingsError) as caught:
        archive.find(model, wanted)
    assert told in str(caught.value)


def test_an_empty_archive_says_what_fills_it(archive: TrainingSets) -> None:
    assert archive.models() == []
    with pytest.raises(SettingsError, match="Train it"):
        archive.history("pets")


@pytest.mark.parametrize("position", [0, 60, 500, -1])
def test_one_changed_bit_is_found(archive: TrainingSets, position: int) -> None:
    archive.add("pets", "1.0", training_set(PETS), "s")
    entry = archive.find("pets", "1.0")
    file = archive.folder / "pets" / f"{entry.digest}.set"
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="was changed: SHA-256"):
        archive.load("pets", entry)
    archive.add("pets", "1.0", training_set(PETS), "s")  # the same set again mends it
    archive.load("pets", entry)


def test_a_lost_set_is_named(archive: TrainingSets) -> None:
    digest = archive.add("pets", "1.0", training_set(PETS), "s")
    (archive.folder / "pets" / f"{digest}.set").unlink()
    with pytest.raises(DataError, match="No such file"):
        archive.load("pets", archive.find("pets", "1.0"))


@FUZZ
@given(content=st.data())
def test_a_damaged_history_is_one_error_and_is_never_written_over(
    content: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    archive = TrainingSets(tmp_path_factory.mktemp("sets"))
    archive.add("pets", "1.0", training_set(PETS), "s")
    path = archive.folder / "pets" / HISTORY
    whole = path.read_bytes()
    path.write_bytes(content.draw(damaged(whole)))
    before = path.read_bytes()
    try:
        archive.history("pets")
    except DataError:
        with pytest.raises(DataError):
            archive.add("pets", "1.1", training_set(PETS), "s")
        assert path.read_bytes() == before


def test_trainings_that_end_at_once_all_find_their_way_in(archive: TrainingSets) -> None:
    known = training_set(PETS)
    versions = [f"1.{number}" for number in range(8)]
    threads = [
        threading.Thread(target=archive.add, args=("pets", version, known, "s"))
        for version in versions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry.version for entry in archive.history("pets")) == versions


def shuffled(dataset: Dataset, seed: int) -> Dataset:
    """Return the data in another order, with more images, some moved into the test split."""
    rng = np.random.default_rng(seed)
    more = images(7, seed=seed + 1)
    everything = [dataset.train, more, dataset.test]
    pixels = np.concatenate([part.images for part in everything])
    labels = np.concatenate([part.labels for part in everything])
    order = rng.permutation(len(labels))
    cut = len(order) // 3
    mixed = ImageSet(pixels, labels)
    return replace(dataset, train=mixed.subset(order[cut:]), test=mixed.subset(order[:cut]))


@QUICK
@given(seed=st.integers(0, 1000))
def test_every_image_is_found_wherever_it_lies_now(seed: int) -> None:
    splits = split(PETS)
    again = rebuild(TrainingSet.of(PETS, splits), shuffled(PETS, seed))
    np.testing.assert_array_equal(again.images, splits.train.images)
    np.testing.assert_array_equal(again.labels, splits.train.labels)


def test_classes_are_known_by_name_not_by_number() -> None:
    splits = split(PETS)
    turned = ImageSet(PETS.train.images, 3 - PETS.train.labels)
    other = data(turned, classes=("ant", "zebra", "dog", "cat"))
    again = rebuild(TrainingSet.of(PETS, splits), other)
    np.testing.assert_array_equal(again.labels, splits.train.labels)


def test_missing_changed_and_relabelled_images_are_told_apart_and_named() -> None:
    splits = split(PETS)
    known = TrainingSet.of(PETS, splits)
    lost, changed, relabelled = splits.train_indices[[4, 7, 9]].tolist()
    pixels, labels = PETS.train.images.copy(), PETS.train.labels.copy()
    pixels[changed] ^= 255
    labels[relabelled] = (labels[relabelled] + 1) % 3
    kept = [number for number in range(len(labels)) if number != lost]
    with pytest.raises(DataError) as caught:
        rebuild(known, data(ImageSet(pixels, labels).subset(kept)))
    total = len(splits.train)
    assert f"of {total} images 2 are missing or changed and 1 have another label" in str(
        caught.value
    )
    assert f"the first lay at {lost}, {changed}, {relabelled};" in str(caught.value)


def test_other_data_miss_every_image_and_name_a_few() -> None:
    known = training_set(PETS)
    with pytest.raises(DataError, match=f"of {len(known)} images {len(known)} are missing"):
        rebuild(known, data(images(40, seed=5)))
    with pytest.raises(DataError, match=r"lay at (\d+, ){5}…;"):
        rebuild(known, data(images(40, shape=(3, 4, 5)), images(4, shape=(3, 4, 5))))


def test_of_equal_images_as_many_must_be_there_as_were() -> None:
    twins = data(ImageSet(np.zeros((30, 1, 4, 5), np.uint8), np.zeros(30, np.int64)))
    known = training_set(twins)
    few = ImageSet(twins.train.images[: len(known) - 2], twins.train.labels[: len(known) - 2])
    assert len(rebuild(known, twins)) == len(known)
    with pytest.raises(DataError, match="2 are missing"):
        rebuild(known, data(few, images(3)))


@QUICK
@given(
    before=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=12),
    after=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=12),
)
def test_every_image_of_both_sets_is_counted_once(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    old, new = (picked(pairs) for pairs in (before, after))
    found, back = compare(old, new), compare(new, old)
    assert found.kept + found.removed + found.relabelled == len(old)
    assert found.kept + found.added + found.relabelled == len(new)
    assert (found.added, found.removed) == (back.removed, back.added)
    assert found.relabelled == back.relabelled
    assert compare(old, old).to_json() == {
        "kept": len(old),
        "added": 0,
        "removed": 0,
        "relabelled": 0,
    }


def picked(pairs: list[tuple[int, int]]) -> TrainingSet:
    """Return a training set of (image, label) pairs."""
    numbers = np.array([number for number, _ in pairs], np.int64)
    labels = np.array([label for _, label in pairs], np.int64)
    known = training_set(PETS)
    hashes = image_hashes(images(6))[numbers]
    return replace(known, indices=numbers, labels=labels, hashes=hashes)


def test_a_new_label_is_no_new_image() -> None:
    found = compare(picked([(0, 0), (1, 1), (2, 2)]), picked([(0, 0), (1, 2), (3, 0)]))
    assert (found.kept, found.relabelled, found.removed, found.added) == (1, 1, 1, 1)


@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 6, 5)])
def test_what_is_written_again_is_read_as_data(shape: tuple[int, ...], tmp_path: Path) -> None:
    some = images(30, shape=shape)
    write_npz(tmp_path / "set.npz", some, CLASSES)
    read = load_dataset(str(tmp_path / "set.npz"), config=DataConfig())
    assert read.classes == CLASSES
    assert len(read.train) + len(read.test) == 30
    both = ImageSet(
        np.concatenate([read.train.images, read.test.images]),
        np.concatenate([read.train.labels, read.test.labels]),
    )
    keys = {row.tobytes() for row in image_hashes(both)}
    assert keys == {row.tobytes() for row in image_hashes(some)}
