"""Splits are disjoint, complete, drawn by their seed alone, and recorded."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep.data import Dataset, ImageSet, Splits, SplitSpec, split
from torchkeep.data.shuffle import shuffled
from torchkeep.data.splits import set_aside
from torchkeep.errors import DataError, SettingsError

QUICK = settings(deadline=None, max_examples=60, derandomize=True)
NAMES = ("train", "validation", "calibration_a", "calibration_b")


def numbered(train: int, test: int = 3) -> Dataset:
    """Return a data set in which each image's pixels are its number."""

    def part(numbers: np.ndarray) -> ImageSet:
        pixels = numbers.astype("<u4").view(np.uint8).reshape(-1, 1, 2, 2)
        return ImageSet(pixels, numbers % 2)

    everything = np.arange(train + test)
    return Dataset("n", ("0", "1"), part(everything[:train]), part(everything[train:]), "d", "s")


def numbers(images: ImageSet) -> list[int]:
    """Return the numbers of the images of a set."""
    return np.ascontiguousarray(images.images).reshape(-1).view("<u4").tolist()


def of(splits: Splits, name: str) -> list[int]:
    return numbers(getattr(splits, name))


@QUICK
@given(count=st.integers(4, 3000), seed=st.integers(0, 2**32))
def test_splits_share_no_image_and_leave_none_out(count: int, seed: int) -> None:
    splits = split(numbered(count), SplitSpec(seed=seed))
    drawn = [number for name in NAMES for number in of(splits, name)]
    assert sorted(drawn) == list(range(count))
    assert of(splits, "test") == [count, count + 1, count + 2]
    assert all(of(splits, name) for name in NAMES)


def test_a_seed_gives_the_same_splits_and_another_seed_others() -> None:
    first, again, other = (split(numbered(500), SplitSpec(seed=seed)) for seed in (1, 1, 2))
    assert of(first, "train") == of(again, "train")
    assert first.record == again.record
    assert of(first, "train") != of(other, "train")
    assert first.record.index_sha256["train"] != other.record.index_sha256["train"]
    assert first.record.index_sha256["test"] == other.record.index_sha256["test"]


def test_the_order_of_a_seed_never_changes() -> None:
    assert shuffled(10, seed=0).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    digest = hashlib.sha256(shuffled(60_000, seed=7).astype("<i8").tobytes()).hexdigest()
    assert digest == "a1fe655b9e361b2ee24608933a606be533b1b48d1416f662dd166ca4b68ec4d6"


def test_shares_are_those_of_the_spec() -> None:
    spec = SplitSpec(validation=0.1, calibration_a=0.2, calibration_b=0.3)
    counts = split(numbered(10_000), spec).record.counts
    assert counts == {
        "train": 4000,
        "validation": 1000,
        "calibration_a": 2000,
        "calibration_b": 3000,
        "test": 3,
    }


def test_calibration_of_a_small_data_set_is_enlarged() -> None:
    counts = split(numbered(1500)).record.counts
    assert (counts["calibration_a"], counts["calibration_b"]) == (320, 320)
    counts = split(numbered(400)).record.counts
    assert (counts["calibration_a"], counts["calibration_b"]) == (100, 100)


def test_the_record_tells_how_to_draw_the_splits_again() -> None:
    dataset = numbered(500)
    splits = split(dataset, SplitSpec(seed=5, validation=0.2))
    record = json.loads(json.dumps(splits.record.to_json()))
    again = split(dataset, SplitSpec(**record["spec"]))
    assert again.record == splits.record
    assert record["dataset"] == "d"
    expected = hashlib.sha256(np.array(of(splits, "validation"), "<i8").tobytes()).hexdigest()
    assert record["index_sha256"]["validation"] == expected


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="3 images besides those for testing"):
        split(numbered(3))


@pytest.mark.parametrize(
    "spec",
    [
        {"validation": 0.0},
        {"calibration_a": 1.0},
        {"calibration_b": -0.1},
        {"validation": 0.5, "calibration_a": 0.3, "calibration_b": 0.2},
        {"seed": -1},
        {"calibration_minimum": -1},
    ],
)
def test_a_spec_that_cannot_be_is_refused(spec: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        SplitSpec(**spec)


@QUICK
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=200),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_a_share_of_every_class_is_set_aside(labels: list[int], share: float, seed: int) -> None:
    array = np.array(labels)
    kept, taken = set_aside(array, share, seed)
    assert sorted([*kept, *taken]) == list(range(len(labels)))
    for label in set(labels):
        count, tested = labels.count(label), int((array[taken] == label).sum())
        assert tested < count
        assert (tested >= 1) == (count >= 2)
        assert abs(tested - count * share) <= 1
