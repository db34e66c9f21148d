"""A prediction and a screened-out item are answers; everything else is a failure."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loadtests.outcome import PREDICT, REJECTED, judge
from torchkeep.client import Item, PredictResult, RequestError, ServerError
from torchkeep.schema import ItemStatus


def answer(*statuses: ItemStatus) -> Callable[[], PredictResult]:
    items = tuple(
        Item(item=i, status=status, error=f"error {i}") for i, status in enumerate(statuses)
    )
    return lambda: PredictResult(request_id="r", model="m", model_version="1", items=items)


@pytest.mark.parametrize(
    ("statuses", "name"),
    [
        ([ItemStatus.OK], PREDICT),
        ([ItemStatus.REJECTED], REJECTED),
        ([ItemStatus.OK, ItemStatus.REJECTED], REJECTED),
    ],
)
def test_an_answer_is_no_failure(statuses: list[ItemStatus], name: str) -> None:
    outcome = judge(answer(*statuses), len(statuses))
    assert (outcome.name, outcome.failure) == (name, None)


@pytest.mark.parametrize("status", sorted(set(ItemStatus) - {ItemStatus.OK, ItemStatus.REJECTED}))
def test_an_item_without_answer_is_a_failure(status: ItemStatus) -> None:
    outcome = judge(answer(ItemStatus.OK, ItemStatus.REJECTED, status), 3)
    assert outcome.name == PREDICT
    assert str(outcome.failure) == f"{status}: error 2"


def test_fewer_items_than_asked_are_a_failure() -> None:
    assert str(judge(answer(ItemStatus.OK), 2).failure) == "1 items were answered, 2 asked"


@pytest.mark.parametrize("error", [ServerError("gone"), RequestError("no", code="INTERNAL")])
def test_a_refusal_is_a_failure(error: Exception) -> None:
    def refuse() -> PredictResult:
        raise error

    outcome = judge(refuse, 1)
    assert (outcome.name, outcome.failure) == (PREDICT, error)
