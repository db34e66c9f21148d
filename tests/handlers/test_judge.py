"""From arrays to judgements, beyond the number of classes that are logged in full."""

from __future__ import annotations

import numpy as np
import pytest

from handlers.bodies import TensorBody
from handlers.call import Call
from handlers.formats import Format
from handlers.gateway_answer import gateway_answer
from handlers.item import Item
from handlers.json_answer import json_answer
from handlers.judge import judge
from handlers.served_model import ServedModel
from handlers.telling import Telling
from robustness.screened_model import ScreenedBatch
from torchkeep.client.answer import parse_answer
from torchkeep.envelope import Origin
from torchkeep.schema import Disclose, ItemStatus, Policy, RequestType

TYPE: RequestType = {
    "protocol": "rest",
    "content_type": "",
    "format": "raw",
    "operation": "predict",
}
MODEL = ServedModel(
    name="m",
    version="1",
    digest="0",
    code_version="0",
    device="cpu",
    threshold=1.0,
    calibration_id="c",
    head_names=(),
)


def judged(probabilities: np.ndarray, *, policy: Policy = Policy.FLAG) -> list[Item]:
    """Judge one item a row, none of them suspicious, by a model without detectors."""
    size, classes = probabilities.shape
    body = TensorBody(np.zeros((size, 1, 1, 1), dtype=np.uint8), Format.RAW)
    origin = Origin(request_id="r", items=size)
    items = [Item(origin, place, body, place, TYPE) for place in range(size)]
    batch = ScreenedBatch(
        probabilities=probabilities.astype(np.float32),
        score=np.zeros(size, dtype=np.float32),
        p_value=np.ones(size, dtype=np.float32),
        head_p_values=np.zeros((size, 0), dtype=np.float32),
        suspicious=np.zeros(size, dtype=bool),
        failed=np.zeros(size, dtype=bool),
        embedding=np.zeros((size, 32), dtype=np.float16),
    )
    judge(items, batch, [f"class {index}" for index in range(classes)], policy)
    return items


@pytest.mark.parametrize(("classes", "logged"), [(2, 2), (100, 100), (101, 10), (1000, 10)])
def test_all_or_the_ten_most_probable_classes_are_ranked(classes: int, logged: int) -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(classes), size=3)
    for item, row in zip(judged(probabilities), probabilities, strict=True):
        judgement = item.judgement
        assert judgement is not None
        best = np.argsort(-row)[:logged]
        assert judgement.labels == [f"class {index}" for index in best]
        np.testing.assert_allclose(judgement.ranked, row[best], rtol=1e-6)
        assert judgement.class_index == best[0]


@pytest.mark.parametrize(("classes", "told"), [(100, True), (101, False)])
def test_probabilities_of_many_classes_are_not_answered(classes: int, told: bool) -> None:
    items = judged(np.random.default_rng(0).dirichlet(np.ones(classes), size=2))
    telling = Telling(disclose=Disclose.FULL)
    call = Call(origin=items[0].origin, request_type=TYPE, items=items)
    for item in parse_answer(json_answer(call, MODEL, telling)).items:
        assert (item.probabilities is not None) == told
    columns = gateway_answer(items, MODEL, telling, disclose=Disclose.NONE)
    assert columns.probabilities.shape == (2, classes if told else 0)
    assert columns.labels.keys() == set(columns.class_index.tolist())


def test_ties_go_to_the_lower_class() -> None:
    (item,) = judged(np.full((1, 4), 0.25))
    assert item.judgement is not None
    assert item.judgement.labels == ["class 0", "class 1", "class 2", "class 3"]


def test_one_row_without_numbers_takes_no_other_with_it() -> None:
    table = np.full((3, 4), 0.25)
    table[1, 2] = np.nan
    statuses = [item.status for item in judged(table)]
    assert statuses == [ItemStatus.OK, ItemStatus.ERROR, ItemStatus.OK]
