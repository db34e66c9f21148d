"""Load tests send the same images under the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtests.images import draw, in_requests, load, shape_of


def test_equal_seeds_draw_equal_images() -> None:
    first, again, other = draw(4, (1, 28, 28), 0), draw(4, (1, 28, 28), 0), draw(4, (1, 28, 28), 1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 20), (1, 1, 1)])
def test_images_have_the_shape_asked_for(shape: tuple[int, int, int]) -> None:
    images = draw(3, shape, 0)
    assert images.shape == (3, *shape)
    assert images.dtype == np.uint8


def test_images_are_strokes_on_black() -> None:
    images = draw(32, (1, 28, 28), 0)
    assert len(np.unique(images.reshape(32, -1), axis=0)) == 32
    assert (images.max(axis=(1, 2, 3)) > 200).all()
    assert 0.05 < (images > 127).mean() < 0.4
    assert (images < 10).mean() > 0.5


def test_requests_hold_all_images_and_are_full() -> None:
    images = draw(5, (1, 4, 4), 0)
    requests = in_requests(images, 2)
    assert [len(request) for request in requests] == [2, 2, 2]
    np.testing.assert_array_equal(np.concatenate(requests), images[[0, 1, 2, 3, 4, 0]])
    assert len(in_requests(images, 12)[0]) == 12


def test_images_of_a_file_are_sent(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", draw(2, (1, 4, 4), 0), allow_pickle=False)
    np.testing.assert_array_equal(load(tmp_path / "images.npy"), draw(2, (1, 4, 4), 0))


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 4, 4), np.uint8), np.zeros((2, 1, 4, 4)), np.zeros((0, 1, 4, 4), np.uint8)],
)
def test_a_file_of_other_arrays_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", array, allow_pickle=False)
    with pytest.raises(ValueError, match="expected uint8 N C H W"):
        load(tmp_path / "images.npy")


def test_a_shape_is_read() -> None:
    assert shape_of("3x32x24") == (3, 32, 24)


@pytest.mark.parametrize(
    "text", ["", "28", "1x28", "1x2x3x4", "1x-2x3", "ax2x3", "1x0x3", "1x2x9999"]
)
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shape|sides"):
        shape_of(text)
