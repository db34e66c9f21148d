"""Subsets grow: each holds the smaller, every class, and the classes in their proportion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep.errors import DataError, SettingsError
from training.learning_curve.subsets import check_sizes, default_sizes, growing_order

LABELS = st.lists(st.integers(0, 5), min_size=2, max_size=200).map(np.asarray)


@given(LABELS, st.integers(0, 1000))
@settings(deadline=None)
def test_an_order_has_every_image_once_and_every_class_first(labels: np.ndarray, seed: int) -> None:
    order = growing_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    classes = np.unique(labels)
    assert set(labels[order[: len(classes)]]) == set(classes)


@given(LABELS, st.integers(0, 1000), st.data())
@settings(deadline=None)
def test_a_subset_has_each_class_in_its_proportion(
    labels: np.ndarray, seed: int, data: st.DataObject
) -> None:
    classes, counts = np.unique(labels, return_counts=True)
    size = data.draw(st.integers(len(classes), len(labels)))
    chosen = labels[growing_order(labels, seed)[:size]]
    for label, count in zip(classes, counts, strict=True):
        expected = size * count / len(labels)
        # one of each class comes first, which may displace as many of the others
        assert abs((chosen == label).sum() - expected) <= len(classes)


def test_a_rare_class_is_in_the_smallest_subset() -> None:
    labels = np.array([0] * 10_000 + [1])
    assert 1 in labels[growing_order(labels, 3)[:2]]


def test_the_order_depends_on_the_seed_alone() -> None:
    labels = np.arange(100) % 10
    assert growing_order(labels, 1).tolist() == growing_order(labels, 1).tolist()
    assert growing_order(labels, 1).tolist() != growing_order(labels, 2).tolist()


@pytest.mark.parametrize(("total", "classes"), [(51_000, 10), (842, 10), (40, 2), (2_000_000, 3)])
def test_sizes_by_default_grow_by_a_factor_up_to_all_images(total: int, classes: int) -> None:
    labels = np.arange(total) % classes
    sizes = default_sizes(labels)
    check_sizes(sizes, labels)
    assert sizes[-1] == total
    factors = np.diff(np.log(sizes))
    assert factors.max() < 1.5 * factors.min()


@pytest.mark.parametrize("labels", [np.zeros(1000, int), np.arange(100) % 10, np.arange(3)])
def test_too_few_images_or_classes_have_no_sizes(labels: np.ndarray) -> None:
    with pytest.raises(DataError):
        default_sizes(labels)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ((20, 40, 60, 80), "do not determine"),
        ((20, 40, 40, 60, 80), "do not grow"),
        ((20, 40, 60, 80, 101), "there are 100 training images"),
        ((9, 40, 60, 80, 100), "each of 10 classes"),
    ],
)
def test_sizes_that_do_not_fit_are_told(sizes: tuple[int, ...], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        check_sizes(sizes, np.arange(100) % 10)


def test_a_single_class_is_told() -> None:
    with pytest.raises(DataError, match="two classes"):
        check_sizes((10, 20, 30, 40, 50), np.zeros(100, int))
