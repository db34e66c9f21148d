"""What a client returns: frozen, typed, the same over REST and gRPC.

Shapes: K classes, C channels, H W pixels. Arrays are read-only. Two results are compared by
identity, not by content, because they hold arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchkeep.schema import ItemStatus, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """What screening found; the numbers are told only if the server discloses them."""

    verdict: Verdict
    score: float | None = None
    p_value: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item:
    """The answer to one item; `label` to `probabilities` are there if and only if it is `ok`.

    `probabilities` is float64 of shape K, or None where there are more classes than are told.
    """

    item: int
    status: ItemStatus
    label: str | None = None
    class_index: int | None = None
    probability: float | None = None
    probabilities: NDArray[np.float64] | None = None
    screening: Screening | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the item was predicted."""
        return self.status is ItemStatus.OK


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attribution:
    """How much each pixel spoke for the predicted class."""

    method: str
    values: NDArray[np.float32]  # C H W


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExplainedItem(Item):
    """The answer to one item of `explain`; `attribution` is there if and only if it is `ok`."""

    attribution: Attribution | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PredictResult:
    """The answer to one request; `request_id` finds it in the request log."""

    request_id: str
    model: str
    model_version: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExplainResult:
    """The answer to one request for explanations; `request_id` finds it in the request log."""

    request_id: str
    model: str
    model_version: str
    items: tuple[ExplainedItem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the server says of itself; a healthy server may still have a model that fails."""

    healthy: bool
    status: str
