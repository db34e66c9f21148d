"""What a caller is told under a policy, held against the handler that tells it."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from handlers.bodies import TensorBody
from handlers.call import Call
from handlers.config import ScreeningConfig
from handlers.formats import Format
from handlers.item import Item
from handlers.json_answer import json_answer
from handlers.judge import judge
from handlers.telling import Telling
from robustness.playground.answering import told
from robustness.screened_model import ScreenedBatch
from tests.handlers.test_judge import MODEL, TYPE
from torchkeep.envelope import Origin
from torchkeep.schema import ItemStatus, Policy, Verdict

CLASSES = ("seven", "two")


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_page_tells_what_the_handler_does(policy: Policy, verdict: Verdict) -> None:
    answered = handled(verdict, policy)
    said = told(CLASSES[0], verdict, policy)
    assert (CLASSES[0] in said) == (answered.get("label") == CLASSES[0])
    assert ("rejected" in said) == (answered["status"] == ItemStatus.REJECTED)
    if "rejected" not in said:
        assert (f"verdict {verdict}" in said) == ("screening" in answered)


def handled(verdict: Verdict, policy: Policy) -> dict[str, object]:
    """Return what the handler answers for one item of that verdict, as its caller reads it."""
    body = TensorBody(np.zeros((1, 1, 1, 1), dtype=np.uint8), Format.RAW)
    origin = Origin(request_id="r", items=1)
    item = Item(origin, 0, body, 0, TYPE)
    batch = ScreenedBatch(
        probabilities=np.array([[0.9, 0.1]], dtype=np.float32),
        score=np.zeros(1, dtype=np.float32),
        p_value=np.ones(1, dtype=np.float32),
        head_p_values=np.zeros((1, 0), dtype=np.float32),
        suspicious=np.array([verdict is not Verdict.CLEAN]),
        failed=np.array([verdict is Verdict.FAILED]),
        embedding=np.zeros((1, 32), dtype=np.float16),
    )
    judge([item], batch, CLASSES, policy)
    telling = Telling.to_callers(ScreeningConfig(policy=policy))
    call = Call(origin=origin, request_type=TYPE, items=[item])
    answer: dict[str, object] = orjson.loads(json_answer(call, MODEL, telling))["predictions"][0]
    return answer
