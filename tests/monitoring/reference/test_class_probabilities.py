"""Probabilities go into the log by size and come out in class order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.class_probabilities import in_class_order, logged_classes, ranked, unranked


@given(classes=st.integers(2, 130), items=st.integers(0, 6), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_what_was_logged_is_there_again(classes: int, items: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    likely = random.dirichlet(np.full(classes, 0.3), items).astype(np.float32)
    logged = ranked(likely)
    again = unranked(logged, classes)
    assert (np.diff(logged.probabilities, axis=1) <= 0).all()
    assert again.shape == likely.shape
    if classes <= 100:
        np.testing.assert_array_equal(again, likely)
        return
    np.testing.assert_array_equal(again.argmax(axis=1), likely.argmax(axis=1))
    np.testing.assert_allclose(again.sum(axis=1), 1, atol=1e-5)
    kept = np.take_along_axis(likely, logged.classes, axis=1)
    np.testing.assert_array_equal(np.take_along_axis(again, logged.classes, axis=1), kept)
    assert all(len(np.unique(row)) <= 11 for row in again)


@pytest.mark.parametrize(("classes", "logged"), [(2, 2), (100, 100), (101, 10), (1000, 10)])
def test_beyond_a_hundred_classes_ten_are_logged(classes: int, logged: int) -> None:
    assert logged_classes(classes) == logged


def test_of_equal_probabilities_the_first_class_is_the_predicted_one() -> None:
    even = np.full((1, 101), 1 / 101, np.float32)
    assert ranked(even).classes[0].tolist() == list(range(10))
    assert unranked(ranked(even), 101)[0, 0] == pytest.approx(1 / 101)


def test_an_item_of_which_nothing_was_logged_has_none() -> None:
    rows, classes = np.array([1, 1]), np.array([2, 0])
    table = in_class_order(rows, classes, np.array([0.5, 0.25], np.float32), 3, 4)
    assert np.isnan(table[[0, 2]]).all()
    assert table[1].tolist() == [0.25, 0.125, 0.5, 0.125]
