"""A few numbers that describe each image of a batch, computed for all of them at once.

They are what drift is measured on, so they are taken from the pixels as received and do not depend
on the model. Pixels are finite: whoever decodes an image refuses NaN and infinity.

    B images, C channels, H W pixels, V values a uint8 can take
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from torchkeep.schema import HISTOGRAM_BINS, InputDataSummary

Images = NDArray[np.uint8] | NDArray[np.float32]

_VALUES = 256
_MAX_UINT8 = 255
_SCALE = np.arange(_VALUES, dtype=np.float64) / _MAX_UINT8
_MOMENTS = np.stack([_SCALE, _SCALE**2], axis=1)
"""V 2: turns counts of values into sums and sums of squares, on the 0..1 scale."""


class _Statistics(NamedTuple):
    mean: NDArray[np.float32]  # B C
    std: NDArray[np.float32]  # B C
    min: NDArray[np.float32]  # B C
    max: NDArray[np.float32]  # B C
    histogram: NDArray[np.int64]  # B 16


def summarise(images: Images, received_bytes: Sequence[int]) -> list[InputDataSummary]:
    """Describe each image of a batch.

    `images` is B C H W, uint8 (0..255) or float32 (0..1); `received_bytes` is each item's size as
    it came in. Raises `ValueError` if either does not fit.
    """
    if images.ndim != 4 or len(received_bytes) != len(images):
        raise ValueError(
            f"expected images B C H W and a size for each, got {images.shape} "
            f"and {len(received_bytes)} sizes"
        )
    if len(images) == 0:
        return []
    if images.size == 0:
        raise ValueError(f"images of shape {images.shape} have no pixels")
    if images.dtype == np.uint8:
        statistics = _of_uint8(cast(NDArray[np.uint8], images))
    elif images.dtype == np.float32:
        statistics = _of_float32(cast(NDArray[np.float32], images))
    else:
        raise ValueError(f"expected uint8 or float32, got {images.dtype}")
    shape, dtype = list(images.shape[1:]), str(images.dtype)
    return [
        {
            "shape": shape,
            "dtype": dtype,
            "bytes": size,
            "mean": mean,
            "std": std,
            "min": low,
            "max": high,
            "histogram": histogram,
            "sharpness": sharpness,
        }
        for size, mean, std, low, high, histogram, sharpness in zip(
            received_bytes, *statistics, _sharpness(images), strict=True
        )
    ]


def _of_uint8(images: NDArray[np.uint8]) -> _Statistics:
    """All statistics from one count of how often each channel takes each of the V values."""
    batch, channels, height, width = images.shape
    counts = _count(images.reshape(batch * channels, height * width), _VALUES)
    mean, square = ((counts.astype(np.float64) @ _MOMENTS) / (height * width)).T
    taken = counts > 0
    low = taken.argmax(axis=1)
    high = _MAX_UINT8 - taken[:, ::-1].argmax(axis=1)
    histogram = counts.reshape(batch, channels, HISTOGRAM_BINS, -1).sum(axis=(1, 3))
    per_channel = (batch, channels)
    return _Statistics(
        mean.reshape(per_channel).astype(np.float32),
        np.sqrt(np.maximum(square - mean**2, 0)).reshape(per_channel).astype(np.float32),
        _SCALE[low].reshape(per_channel).astype(np.float32),
        _SCALE[high].reshape(per_channel).astype(np.float32),
        histogram,
    )


def _of_float32(images: NDArray[np.float32]) -> _Statistics:
    batch, channels, height, width = images.shape
    rows = images.reshape(batch * channels, height * width)
    mean = rows.mean(axis=1, dtype=np.float64).astype(np.float32)
    centred = rows - mean[:, None]
    variance = np.vecdot(centred, centred) / np.float32(height * width)
    scaled = rows * HISTOGRAM_BINS
    np.clip(scaled, 0, HISTOGRAM_BINS - 1, out=scaled)
    bins = scaled.astype(np.uint8).reshape(batch, -1)
    per_channel = (batch, channels)
    return _Statistics(
        mean.reshape(per_channel),
        np.sqrt(variance).reshape(per_channel),
        rows.min(axis=1).reshape(per_channel),
        rows.max(axis=1).reshape(per_channel),
        _count(bins, HISTOGRAM_BINS),
    )


def _count(rows: NDArray[np.uint8], values: int) -> NDArray[np.int64]:
    """How often each value below `values` occurs in each row.

    Row by row, because `bincount` widens its input to int64: for a whole batch that would be a
    fresh allocation from the system each time, which costs more than the counting.
    """
    return np.array([np.bincount(row, minlength=values) for row in rows]).reshape(-1, values)


def _sharpness(images: Images) -> list[float]:
    """Variance of the 4-neighbour Laplacian of the channel mean, to six digits.

    Taken over the interior; 0 for an image without one (smaller than 3×3).
    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    batch, channels, height, width = images.shape
    if height < 3 or width < 3:
        return [0.0] * batch
    whole = images.dtype == np.uint8
    grey = images.sum(axis=1, dtype=_grey_type(channels) if whole else np.float32).ravel()
    # Neighbours are taken by shifting the whole batch at once. That is wrong only at the edges of
    # an image, where a shift reaches into another row or image, and those are cut off afterwards.
    laplacian = 4 * grey
    laplacian[width:] -= grey[:-width]
    laplacian[:-width] -= grey[width:]
    laplacian[1:] -= grey[:-1]
    laplacian[:-1] -= grey[1:]
    interior = laplacian.reshape(batch, height, width)[:, 1:-1, 1:-1]
    values = interior.reshape(batch, -1).astype(np.float64)
    unit = channels * (_MAX_UINT8 if whole else 1)
    variance = np.vecdot(values, values) / values.shape[1] - values.mean(axis=1) ** 2
    return [float(f"{value:.6g}") for value in np.maximum(variance, 0) / unit**2]


def _grey_type(channels: int) -> type[np.int16] | type[np.int64]:
    """The smallest type that holds the Laplacian of a sum of uint8 channels."""
    return np.int16 if 4 * _MAX_UINT8 * channels <= np.iinfo(np.int16).max else np.int64
