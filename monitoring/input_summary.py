"""A few numbers that describe each image of a batch, computed for all of them at once.

They are what drift is measured on, so they are taken from the pixels as received and do not depend
on the model. Pixels are finite: whoever decodes an image refuses NaN and infinity.

    B images, C channels, H W pixels, V values a uint8 can take
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from torchkeep.schema import HISTOGRAM_BINS, InputDataSummary

Images = NDArray[np.uint8] | NDArray[np.float32]

_VALUES = 256
_MAX_UINT8 = 255
_COUNTED_AT_ONCE = 1 << 16
_SCALE = np.arange(_VALUES, dtype=np.float64) / _MAX_UINT8
_OF_COUNTS = np.column_stack(
    [_SCALE, _SCALE**2, np.repeat(np.eye(HISTOGRAM_BINS), _VALUES // HISTOGRAM_BINS, axis=0)]
)
"""V 18: turns counts of values into their sum and sum of squares, on the 0..1 scale, and bins."""
_DTYPE_NAMES = {np.dtype(np.uint8): "uint8", np.dtype(np.float32): "float32"}


class _Statistics(NamedTuple):
    mean: NDArray[np.float32]  # B C
    std: NDArray[np.float32]  # B C
    min: NDArray[np.float32]  # B C
    max: NDArray[np.float32]  # B C
    histogram: list[list[int]]  # B 16


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
    dtype = _DTYPE_NAMES.get(images.dtype)
    if dtype is None:
        raise ValueError(f"expected uint8 or float32, got {images.dtype}")
    if dtype == "uint8":
        statistics = _of_uint8(cast(NDArray[np.uint8], images))
    else:
        statistics = _of_float32(cast(NDArray[np.float32], images))
    shape = list(images.shape[1:])
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
    found = counts.astype(np.float64) @ _OF_COUNTS
    mean, square = found[:, :2].T / (height * width)
    taken = counts > 0
    low = taken.argmax(axis=1)
    high = _MAX_UINT8 - taken[:, ::-1].argmax(axis=1)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    per_channel = np.array([mean, std, _SCALE[low], _SCALE[high]], np.float32)
    columns = per_channel.reshape(4, batch, channels)
    bins = found[:, 2:].astype(np.int64)
    if channels > 1:
        bins = bins.reshape(batch, channels, HISTOGRAM_BINS).sum(axis=1)
    return _Statistics(columns[0], columns[1], columns[2], columns[3], bins.tolist())


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
        _count(bins, HISTOGRAM_BINS).tolist(),
    )


def _count(rows: NDArray[np.uint8], values: int) -> NDArray[np.int64]:
    """How often each value below `values` occurs in each row.

    Many small rows by one call, large ones by themselves: `bincount` takes int64, and beyond the
    cache to widen pixels costs more than the calls.
    """
    step = max(1, _COUNTED_AT_ONCE // rows.shape[1])
    parts = [_count_together(rows[at : at + step], values) for at in range(0, len(rows), step)]
    return np.concatenate(parts)


def _count_together(rows: NDArray[np.uint8], values: int) -> NDArray[np.int64]:
    first = np.arange(0, len(rows) * values, values, dtype=np.int64)
    places = (rows + first[:, None]).ravel()
    return np.bincount(places, minlength=len(rows) * values).reshape(-1, values)


def _sharpness(images: Images) -> list[float]:
    """Variance of the 4-neighbour Laplacian of the channel mean, to six digits.

    Taken over the interior; 0 for an image without one (smaller than 3×3).
    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    batch, channels, height, width = images.shape
    if height < 3 or width < 3:
        return [0.0] * batch
    whole = images.dtype == np.uint8
    grey = _sum_of_channels(images, _grey_type(channels) if whole else np.float32).ravel()
    # Neighbours are taken by shifting the whole batch at once. That is wrong only at the edges of
    # an image, where a shift reaches into another row or image, and those are cut off afterwards.
    laplacian = 4 * grey
    laplacian[width:] -= grey[:-width]
    laplacian[:-width] -= grey[width:]
    laplacian[1:] -= grey[:-1]
    laplacian[:-1] -= grey[1:]
    interior = laplacian.reshape(batch, height, width)[:, 1:-1, 1:-1]
    values = interior.astype(np.float64).reshape(batch, -1)
    unit = channels * (_MAX_UINT8 if whole else 1)
    variance = np.vecdot(values, values) / values.shape[1] - values.mean(axis=1) ** 2
    return [float(f"{value:.6g}") for value in (variance / unit**2).clip(0).tolist()]


def _sum_of_channels(images: Images, dtype: type[np.number[Any]]) -> NDArray[Any]:
    """B C H W to B H W."""
    one = images.shape[1] == 1
    return images[:, 0].astype(dtype) if one else images.sum(axis=1, dtype=dtype)


def _grey_type(channels: int) -> type[np.int16] | type[np.int64]:
    """The smallest type that holds the Laplacian of a sum of uint8 channels."""
    return np.int16 if 4 * _MAX_UINT8 * channels <= np.iinfo(np.int16).max else np.int64
