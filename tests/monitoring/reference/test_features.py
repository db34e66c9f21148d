"""Features of images and of what a model said of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from monitoring.features import (
    MODEL_FEATURES,
    channels_of,
    feature_names,
    features_of_images,
    histogram_shares,
    image_feature_names,
    model_features,
)


@given(channels=st.integers(1, 12))
@settings(deadline=None, max_examples=12, derandomize=True)
def test_names_are_distinct_and_tell_the_channels(channels: int) -> None:
    names = feature_names(channels)
    assert len(set(names)) == len(names) == 4 * channels + 17 + len(MODEL_FEATURES)
    assert names[: -len(MODEL_FEATURES)] == image_feature_names(channels)
    assert channels_of(names) == channels
    assert channels_of(MODEL_FEATURES) == 0


@given(
    images=arrays.arrays(
        np.uint8,
        st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    )
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_columns_are_what_their_names_say(images: NDArray[np.uint8]) -> None:
    names = image_feature_names(images.shape[1])
    table = dict(zip(names, features_of_images(images).T, strict=True))
    scaled = images / 255
    for channel in range(images.shape[1]):
        pixels = scaled[:, channel]
        for name in ("mean", "std", "min", "max"):
            expected = getattr(pixels, name)(axis=(1, 2))
            np.testing.assert_allclose(table[f"{name}_{channel}"], expected, atol=1e-6)
    shares = np.array([table[name] for name in names if name.startswith("histogram")])
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    for image, row in zip(images, shares.T, strict=True):
        counts = np.bincount(image.ravel() // 16, minlength=16)
        np.testing.assert_array_equal(row, counts / image.size)


def test_many_images_are_described_in_order() -> None:
    images = np.arange(3000, dtype=np.uint16).view(np.uint8).reshape(-1, 1, 2, 1)[:2500]
    means = features_of_images(images)[:, 0]
    np.testing.assert_allclose(means, images.mean(axis=(1, 2, 3)) / 255, atol=1e-6)


def test_pixels_of_0_to_1_have_the_same_mean_and_bins() -> None:
    images = np.random.default_rng(0).integers(0, 16, (7, 3, 5, 5)).astype(np.uint8) * 17
    whole, scaled = features_of_images(images), features_of_images((images / 255).astype("f4"))
    np.testing.assert_allclose(whole, scaled, atol=1e-5)


def test_what_the_model_said_becomes_confidence_entropy_and_score() -> None:
    probabilities = np.array([[1, 0, 0, 0], [0.25] * 4, [np.nan] * 4], np.float32)
    table = model_features(probabilities, np.array([0.5, np.nan, 2.0]))
    np.testing.assert_allclose(table[0], [1, 0, 0.5])
    np.testing.assert_allclose(table[1], [0.25, np.log(4), np.nan])
    np.testing.assert_allclose(table[2], [np.nan, np.nan, 2])


def test_no_pixels_have_no_shares() -> None:
    assert np.isnan(histogram_shares(np.zeros((2, 16)))).all()


def test_other_types_of_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        features_of_images(np.zeros((1, 1, 2, 2)))  # type: ignore[arg-type]
