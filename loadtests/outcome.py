"""What counts as answered under load: a prediction, and a refusal of the item by screening."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torchkeep.client import PredictResult, RequestError, ServerError
from torchkeep.schema import ItemStatus

PREDICT: Final = "predict"
REJECTED: Final = "predict (rejected)"
"""Rows of Locust's statistics: requests, and those of them with an item that was screened out."""


class NotAnsweredError(Exception):
    """An item that should have been answered was not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended: its row, and why it failed, if it did."""

    name: str
    failure: Exception | None = None


def judge(ask: Callable[[], PredictResult], items: int) -> Outcome:
    """Ask for `items` predictions and say how that ended."""
    try:
        result = ask()
    except (RequestError, ServerError) as error:
        return Outcome(PREDICT, error)
    if len(result.items) != items:
        answered = f"{len(result.items)} items were answered, {items} asked"
        return Outcome(PREDICT, NotAnsweredError(answered))
    statuses = {item.status for item in result.items}
    for item in result.items:
        if item.status not in (ItemStatus.OK, ItemStatus.REJECTED):
            return Outcome(PREDICT, NotAnsweredError(f"{item.status}: {item.error}"))
    return Outcome(REJECTED if ItemStatus.REJECTED in statuses else PREDICT)
