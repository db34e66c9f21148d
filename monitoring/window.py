"""A window: the items of one model that were served in a span of time, as columns.

Shapes: N items, F features, E embedding dimensions, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOT_PREDICTED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Items in the order they were logged; what an item lacks is NaN, "" or `NOT_PREDICTED`.

    Raises `ValueError` if the columns differ in length.
    """

    model: str
    classes: tuple[str, ...]
    feature_names: tuple[str, ...]
    timestamp_ns: NDArray[np.int64]  # N
    version: NDArray[np.str_]  # N
    request_id: NDArray[np.str_]  # N
    item: NDArray[np.int64]  # N
    client: NDArray[np.str_]  # N
    session: NDArray[np.str_]  # N
    status: NDArray[np.str_]  # N
    verdict: NDArray[np.str_]  # N
    code_version: NDArray[np.str_]  # N
    input_format: NDArray[np.str_]  # N, such as png or raw
    score: NDArray[np.float64]  # N
    features: NDArray[np.float64]  # N F
    embedding: NDArray[np.float32]  # N E
    probabilities: NDArray[np.float32]  # N K, in class order
    predicted: NDArray[np.int64]  # N, class index

    def __post_init__(self) -> None:
        lengths = {
            len(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        if len(lengths) > 1:
            raise ValueError(f"the columns have {sorted(lengths)} rows")
        if self.features.shape[1] != len(self.feature_names):
            raise ValueError(f"{self.features.shape[1]} features, {len(self.feature_names)} names")

    def __len__(self) -> int:
        return len(self.timestamp_ns)

    def take(self, rows: NDArray[Any]) -> Window:
        """Return the window of these rows: a mask or indices."""
        columns = {
            field.name: value[rows]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        return replace(self, **columns)
