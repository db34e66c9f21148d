"""The columns of a window from the rows that the log holds."""

# N items, F features, E embedding dimensions, K classes

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitoring.arrow_arrays import Lists, booleans, fixed_bytes, floats
from monitoring.class_probabilities import in_class_order
from monitoring.features import (
    PER_CHANNEL,
    channels_of,
    histogram_shares,
    model_features,
)
from monitoring.features import feature_names as all_feature_names
from monitoring.window import NOT_PREDICTED
from torchkeep.schema import EMBEDDING_DIMS, HISTOGRAM_BINS

_FLOAT16 = np.dtype("<f2")
_MOST_PROBABILITY = 1.01  # a sum of what was rounded to float32, and to bfloat16 before that


class Predictions(NamedTuple):
    """What the model said of each item, in class order, and what could not be read of it."""

    probabilities: NDArray[np.float32]  # N K, NaN where there are none
    predicted: NDArray[np.int64]  # N
    missing: NDArray[np.bool_]  # N, nothing was logged
    unknown: NDArray[np.bool_]  # N, of another label than the model's
    damaged: NDArray[np.bool_]  # N, labels and probabilities do not belong together


class Embeddings(NamedTuple):
    """The embeddings, and the items without one."""

    values: NDArray[np.float32]  # N E, NaN where there are none
    missing: NDArray[np.bool_]  # N
    damaged: NDArray[np.bool_]  # N


class Features(NamedTuple):
    """The features, and the items whose image was not described."""

    values: NDArray[np.float64]  # N F, NaN where there are none
    missing: NDArray[np.bool_]  # N
    other_channels: NDArray[np.bool_]  # N


def predictions_of(rows: pa.Table, classes: Sequence[str]) -> Predictions:
    """Bring logged labels and probabilities into class order."""
    labels, numbers = Lists.of(rows["prediction"]), Lists.of(rows["probability"])
    count = len(labels.lengths)
    found = pc.index_in(labels.values, value_set=pa.array(classes, pa.string()))
    index = pc.fill_null(found, NOT_PREDICTED).to_numpy().astype(np.int64)
    missing = (labels.lengths == 0) & (numbers.lengths == 0)
    uneven = labels.lengths != numbers.lengths
    strange = np.zeros(count, np.bool_)
    strange[labels.rows[index == NOT_PREDICTED]] = True
    unknown = strange & ~uneven
    usable = ~(missing | uneven | unknown)
    of, value = labels.rows, np.full(len(index), np.nan)
    paired = floats(numbers.values)[np.repeat(~uneven, numbers.lengths)]
    value[np.repeat(~uneven, labels.lengths)] = paired
    kept = usable[of]
    usable &= ~_impossible(of[kept], index[kept], value[kept], count, len(classes))
    kept = usable[of]
    sound = value[kept].astype(np.float32)
    probabilities = in_class_order(of[kept], index[kept], sound, count, len(classes))
    predicted = np.full(count, NOT_PREDICTED, np.int64)
    first = np.cumsum(labels.lengths) - labels.lengths
    predicted[usable] = index[first[usable]]
    return Predictions(probabilities, predicted, missing, unknown, ~(usable | missing | unknown))


def _impossible(
    rows: NDArray[np.int64],
    classes: NDArray[np.int64],
    values: NDArray[np.float64],
    items: int,
    count: int,
) -> NDArray[np.bool_]:
    """Which items name a class twice, or have probabilities that are none: N."""
    outside = ~((values >= 0) & (values <= 1))
    faulty = np.bincount(rows[~outside], values[~outside], items) > _MOST_PROBABILITY
    faulty[rows[outside]] = True
    cells = np.sort(rows * count + classes)
    faulty[cells[1:][cells[1:] == cells[:-1]] // count] = True
    return faulty


def embeddings_of(rows: pa.Table) -> Embeddings:
    """Decode the logged embeddings."""
    table, whole = fixed_bytes(rows["embedding"], _FLOAT16.itemsize * EMBEDDING_DIMS)
    values = table.view(_FLOAT16).astype(np.float32)
    whole &= np.isfinite(values).all(axis=1)
    values[~whole] = np.nan
    logged = booleans(rows["embedded"])
    return Embeddings(values, ~logged, logged & ~whole)


def features_of(
    rows: pa.Table,
    feature_names: Sequence[str],
    probabilities: NDArray[np.float32],
    score: NDArray[np.float64],
) -> Features:
    """Compute the features of these names; raises `ValueError` if there is none of a name."""
    channels = channels_of(feature_names)
    place = {name: column for column, name in enumerate(all_feature_names(channels))}
    if unknown := [name for name in feature_names if name not in place]:
        raise ValueError(f"there is no feature {unknown[0]!r} of {channels} channels")
    image, described = _image_features(rows, channels)
    table = np.concatenate([image, model_features(probabilities, score)], axis=1)
    summarised = booleans(rows["summarised"])
    return Features(
        table[:, [place[name] for name in feature_names]], ~summarised, summarised & ~described
    )


def _image_features(rows: pa.Table, channels: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The columns of `features_of_images`, and which rows have so many channels (N)."""
    columns = [_as_float32(Lists.of(rows[field]).fixed(channels)) for field in PER_CHANNEL]
    columns.append(floats(rows["sharpness"])[:, None])
    columns.append(histogram_shares(Lists.of(rows["histogram"]).fixed(HISTOGRAM_BINS)))
    table = np.concatenate(columns, axis=1)
    described = Lists.of(rows[PER_CHANNEL[0]]).lengths == channels
    table[~described] = np.nan
    return table, described


def _as_float32(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What was logged as the shortest text of a float32, exactly as it was before that."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32).astype(np.float64)
