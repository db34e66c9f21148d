"""Cleaned indices: what is written comes back, nothing else is taken, and only their data fits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.files import CAPS, FUZZ, damaged, refuses_or_reads, some_images, some_labels
from torchkeep.data import CleanedIndex, Dataset, ImageSet
from torchkeep.data.cleaned_index import FORMAT, MAX_BYTES
from torchkeep.data.dataset import digest_of, part_arrays, part_hash
from torchkeep.errors import DataError

DIGEST = "ab" * 32
WHOLE = CleanedIndex(DIGEST, 100, (3, 17, 99))


def some_dataset(count: int = 30, classes: int = 3) -> Dataset:
    train = ImageSet(some_images(count, (1, 4, 5)), some_labels(count, classes).astype(np.int64))
    test = ImageSet(some_images(6, (1, 4, 5), seed=1), some_labels(6, classes).astype(np.int64))
    names = tuple("abcdefgh"[:classes])
    return Dataset("some", names, train, test, content_digest(names, train, test), "/some/where")


def content_digest(classes: tuple[str, ...], train: ImageSet, test: ImageSet) -> str:
    arrays = part_arrays(train, test)
    return digest_of(classes, {part: part_hash(array) for part, array in arrays.items()})


def with_values(**values: object) -> bytes:
    return json.dumps(WHOLE.to_json() | values).encode()


@given(
    digest=st.text("0123456789abcdef", min_size=64, max_size=64),
    images=st.integers(2, 1000),
    places=st.sets(st.integers(0, 999)),
)
@FUZZ
def test_what_is_written_comes_back(
    digest: str, images: int, places: set[int], tmp_path: Path
) -> None:
    dropped = tuple(sorted(place for place in places if place < images))[: images - 1]
    index = CleanedIndex(digest, images, dropped)
    index.write(tmp_path / "index.json")
    assert CleanedIndex.read(tmp_path / "index.json") == index
    assert CleanedIndex.from_json(index.to_json()) == index


@FUZZ
@given(content=damaged(WHOLE.content))
def test_any_bytes_are_an_index_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    refuses_or_reads(lambda: CleanedIndex.read(path), path, content, CAPS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@FUZZ
@given(key=st.sampled_from(sorted(WHOLE.to_json())), value=JSON)
def test_any_json_value_is_an_index_or_a_data_error(
    key: str, value: object, tmp_path: Path
) -> None:
    path = tmp_path / "index.json"
    refuses_or_reads(lambda: CleanedIndex.read(path), path, with_values(**{key: value}), CAPS)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is no JSON"),
        (WHOLE.content[:40], "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "is no JSON object"),
        (b"\xff\xfe", "is no JSON"),
        (with_values(format="other"), "is of another format"),
        (with_values(more=1), "lacks or adds 'more'"),
        (with_values(dataset_digest="AB" * 32), "is no SHA-256"),
        (with_values(dataset_digest=None), "is no SHA-256"),
        (with_values(images=True), "'images' is no count"),
        (with_values(images=0), "'images' is no count"),
        (with_values(images=10**30), "'images' is no count"),
        (with_values(dropped={}), "'dropped' is no list"),
        (with_values(dropped=[1.0]), "no whole number"),
        (with_values(dropped=[True]), "no whole number"),
        (with_values(dropped=[4, 4]), "does not ascend"),
        (with_values(dropped=[5, 4]), "does not ascend"),
        (with_values(dropped=[-1]), "outside 0 to 99"),
        (with_values(dropped=[100]), "outside 0 to 99"),
        (with_values(dropped=list(range(100))), "leaves no image"),
        (WHOLE.content.replace(b"17", b"NaN"), "is no JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_names_the_file_and_the_fault(content: bytes, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        CleanedIndex.read(path)
    assert caught.value.path == str(path)
    assert fault in caught.value.fault


def test_a_file_that_is_missing_or_has_no_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        CleanedIndex.read(tmp_path / "nothing.json")
    with (tmp_path / "endless.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(DataError, match="more than"):
        CleanedIndex.read(tmp_path / "endless.json")


def test_a_wrong_index_cannot_be_made() -> None:
    with pytest.raises(DataError, match="does not ascend"):
        CleanedIndex(DIGEST, 10, (2, 1))


def test_the_format_is_named() -> None:
    assert WHOLE.to_json()["format"] == FORMAT


def test_what_is_left_is_in_order_under_the_digest_of_its_content() -> None:
    dataset = some_dataset()
    cleaned = CleanedIndex(dataset.digest, 30, (0, 7, 29)).apply(dataset)
    kept = [place for place in range(30) if place not in (0, 7, 29)]
    np.testing.assert_array_equal(cleaned.train.images, dataset.train.images[kept])
    np.testing.assert_array_equal(cleaned.train.labels, dataset.train.labels[kept])
    assert cleaned.test is dataset.test
    assert cleaned.digest == content_digest(dataset.classes, cleaned.train, cleaned.test)
    assert cleaned.digest != dataset.digest
    assert (cleaned.name, cleaned.source) == (dataset.name, dataset.source)


def test_an_index_that_drops_nothing_changes_nothing() -> None:
    dataset = some_dataset()
    assert CleanedIndex(dataset.digest, 30, ()).apply(dataset) is dataset


@pytest.mark.parametrize(("digest", "images"), [(DIGEST, 30), (None, 29)])
def test_an_index_of_other_data_is_refused(digest: str | None, images: int) -> None:
    dataset = some_dataset()
    with pytest.raises(DataError, match=r"whose index this is.*scan-poison"):
        CleanedIndex(digest or dataset.digest, images, (1,)).apply(dataset)


def test_no_class_is_dropped_whole() -> None:
    dataset = some_dataset()
    all_of_b = tuple(np.flatnonzero(dataset.train.labels == 1).tolist())
    with pytest.raises(DataError, match="class 'b' has none"):
        CleanedIndex(dataset.digest, 30, all_of_b).apply(dataset)
