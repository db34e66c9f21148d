from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitoring.input_summary import summarise
from monitoring.record_check import check_record
from tests.monitoring.records import a_record


def plainly(image: NDArray[Any]) -> dict[str, Any]:
    """Describe one image pixel by pixel, straight from the definitions."""
    channels, height, width = image.shape
    whole = image.dtype == np.uint8
    scaled = image.astype(np.float64) / (255 if whole else 1)
    histogram = [0] * 16
    for pixel in image.ravel():
        place = int(pixel) >> 4 if whole else math.floor(16 * float(pixel))
        histogram[min(max(place, 0), 15)] += 1
    grey = scaled.mean(axis=0)
    laplacian = [
        4 * grey[y, x] - grey[y - 1, x] - grey[y + 1, x] - grey[y, x - 1] - grey[y, x + 1]
        for y in range(1, height - 1)
        for x in range(1, width - 1)
    ]
    return {
        "shape": [channels, height, width],
        "dtype": str(image.dtype),
        "mean": [channel.mean() for channel in scaled],
        "std": [channel.std() for channel in scaled],
        "min": [channel.min() for channel in scaled],
        "max": [channel.max() for channel in scaled],
        "histogram": histogram,
        "sharpness": float(np.var(laplacian)) if laplacian else 0.0,
    }


def check(images: NDArray[Any]) -> None:
    sizes = [100 + number for number in range(len(images))]
    summaries = summarise(images, sizes)
    assert len(summaries) == len(images)
    for image, size, summary in zip(images, sizes, summaries, strict=True):
        assert check_record(a_record(input_data_summary=summary)) == []
        written = orjson.loads(orjson.dumps(summary, option=orjson.OPT_SERIALIZE_NUMPY))
        assert written.pop("bytes") == size
        wanted = plainly(image)
        for name in ("shape", "dtype", "histogram"):
            assert written[name] == wanted[name]
        for name in ("mean", "std", "min", "max", "sharpness"):
            assert written[name] == pytest.approx(wanted[name], rel=2e-5, abs=2e-6), name


SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 7), st.integers(1, 7))


@settings(deadline=None, max_examples=80, derandomize=True)
@given(SHAPES, st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 16, 128, 255]))
def test_uint8_images_are_described_as_defined(
    shape: tuple[int, ...], seed: int, brightest: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, brightest + 1, shape)
    check(pixels.astype(np.uint8))


@settings(deadline=None, max_examples=80, derandomize=True)
@given(SHAPES, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.0625, 0.5, 1.0]))
def test_float32_images_are_described_as_defined(
    shape: tuple[int, ...], seed: int, brightest: float
) -> None:
    pixels = np.random.default_rng(seed).random(shape, np.float32) * np.float32(brightest)
    check(pixels)


@pytest.mark.parametrize("shape", [(16, 1, 28, 28), (16, 3, 32, 32), (2, 40, 9, 9), (2, 3, 64, 48)])
def test_served_shapes_are_described_as_defined(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    check(pixels)
    check((pixels / np.float32(255)).astype(np.float32))


@pytest.mark.parametrize("channels", [1, 3, 32, 33, 200])
def test_the_sharpest_image_does_not_overflow(channels: int) -> None:
    board = ((np.indices((8, 8)).sum(axis=0) % 2) * 255).astype(np.uint8)
    check(np.broadcast_to(board, (2, channels, 8, 8)).copy())


def test_images_do_not_touch_each_other() -> None:
    dark, bright = np.zeros((1, 5, 5), np.uint8), np.full((1, 5, 5), 255, np.uint8)
    summaries = summarise(np.stack([dark, bright, dark]), [25, 25, 25])
    assert [summary["sharpness"] for summary in summaries] == [0.0, 0.0, 0.0]
    assert [float(summary["mean"][0]) for summary in summaries] == [0.0, 1.0, 0.0]


def test_uint8_and_float32_of_one_image_agree() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 3, 12, 10), np.uint8)
    ours = summarise(pixels, [1] * 4)
    others = summarise((pixels / np.float32(255)).astype(np.float32), [1] * 4)
    for one, other in zip(ours, others, strict=True):
        assert one["sharpness"] == pytest.approx(other["sharpness"], rel=1e-4)
        for name in ("mean", "std", "min", "max"):
            assert one[name] == pytest.approx(other[name], rel=1e-4, abs=1e-6)


def test_values_beyond_the_scale_count_in_the_outer_bins() -> None:
    image = np.array([-1.0, -0.01, 0.0, 1.0, 1.5, 1e6], np.float32).reshape(1, 1, 2, 3)
    histogram = list(summarise(image, [24])[0]["histogram"])
    assert histogram == [3, *[0] * 14, 3]


def test_a_view_in_another_order_is_described_alike() -> None:
    channels_last = np.random.default_rng(2).integers(0, 256, (3, 6, 5, 3), np.uint8)
    check(channels_last.transpose(0, 3, 1, 2))
    check((channels_last / np.float32(255)).astype(np.float32).transpose(0, 3, 1, 2))


def test_no_images_give_no_summaries() -> None:
    assert summarise(np.zeros((0, 1, 28, 28), np.uint8), []) == []
    assert summarise(np.zeros((0, 1, 28, 28), np.float32), []) == []


@pytest.mark.parametrize(
    ("images", "sizes"),
    [
        (np.zeros((1, 28, 28), np.uint8), [1]),
        (np.zeros((2, 1, 8, 8), np.uint8), [1]),
        (np.zeros((1, 1, 8, 8), np.float64), [1]),
        (np.zeros((1, 1, 0, 8), np.uint8), [1]),
    ],
)
def test_what_does_not_fit_is_refused(images: NDArray[Any], sizes: list[int]) -> None:
    with pytest.raises(ValueError, match=r"expected|no pixels"):
        summarise(images, sizes)


def test_logged_numbers_are_short() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (1, 1, 28, 28), np.uint8)
    line = orjson.dumps(summarise(pixels, [784])[0], option=orjson.OPT_SERIALIZE_NUMPY)
    assert len(line) < 300
