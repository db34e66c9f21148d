"""The features drift is measured on: one definition for logged records and for images.

An image's features come from `monitoring.input_summary.summarise`, as the handlers log them; those
of the model from its probabilities and the screening score. `monitoring.windows` builds the same
columns from the log, so that equal images have equal rows in a reference and in a window.

    N images, C channels, H W pixels, F features, K classes
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitoring.input_summary import Images, summarise
from torchkeep.schema import HISTOGRAM_BINS

PER_CHANNEL = ("mean", "std", "min", "max")
"""Fields of a logged summary with a value for each channel, 0..1 scale."""
HISTOGRAM = tuple(f"histogram_{number:02}" for number in range(HISTOGRAM_BINS))
"""Shares of the values of all channels that lie in each of 16 equal bins of 0..1."""
MODEL_FEATURES = ("confidence", "entropy", "score")
"""Largest probability, entropy of all probabilities in nats, screening score."""

_SUMMARISED_AT_ONCE = 1024
_MEAN = re.compile(r"mean_(\d{1,4})")


def image_feature_names(channels: int) -> tuple[str, ...]:
    """Return the names of the columns that `features_of_images` gives."""
    per_channel = (f"{field}_{channel}" for field in PER_CHANNEL for channel in range(channels))
    return (*per_channel, "sharpness", *HISTOGRAM)


def feature_names(channels: int) -> tuple[str, ...]:
    """Return the names of all F features of a model of so many channels: image's, then model's."""
    return (*image_feature_names(channels), *MODEL_FEATURES)


def channels_of(names: Sequence[str]) -> int:
    """Return how many channels the features of these names are of; 0 if they name no mean."""
    found = (_MEAN.fullmatch(name) for name in names)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def features_of_images(images: Images) -> NDArray[np.float64]:
    """Return the image features of `images` N C H W, uint8 or float32 in 0..1, as if logged.

    Columns are those of `image_feature_names(C)`. Raises `ValueError` as `summarise` does.
    """
    parts = [
        _of_batch(images[start : start + _SUMMARISED_AT_ONCE])
        for start in range(0, len(images), _SUMMARISED_AT_ONCE)
    ]
    columns = len(image_feature_names(images.shape[1]))
    return np.concatenate(parts) if parts else np.empty((0, columns))


def model_features(
    probabilities: NDArray[np.float32], score: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return `MODEL_FEATURES` of probabilities N K and scores N; rows with NaN give NaN."""
    p = probabilities.astype(np.float64)
    confidence = p.max(axis=1, initial=0)
    logarithm = np.log(p, out=np.zeros_like(p), where=p != 0)
    return np.column_stack([confidence, -(p * logarithm).sum(axis=1), score])


def histogram_shares(counts: NDArray[np.number]) -> NDArray[np.float64]:
    """Return the shares of pixel counts N 16; NaN where an image has none."""
    counted = counts.astype(np.float64)
    total = counted.sum(axis=1, keepdims=True)
    shares = np.full_like(counted, np.nan)
    np.divide(counted, total, out=shares, where=total > 0)
    return shares


def _of_batch(images: Images) -> NDArray[np.float64]:
    summaries = summarise(images, [0] * len(images))
    columns = [np.array([summary[field] for summary in summaries]) for field in PER_CHANNEL]  # type: ignore[literal-required]
    columns.append(np.array([[summary["sharpness"]] for summary in summaries]))
    columns.append(histogram_shares(np.array([summary["histogram"] for summary in summaries])))
    return np.concatenate(columns, axis=1, dtype=np.float64)
