"""The answer as JSON (`torchkeep.schema.Answer`)."""

from __future__ import annotations

import base64

import numpy as np
import orjson
from numpy.typing import NDArray

from handlers.call import Call
from handlers.explain import METHOD
from handlers.item import Item
from handlers.served_model import ServedModel
from handlers.telling import Telling
from torchkeep.schema import (
    MAX_LOGGED_CLASSES,
    SCHEMA_VERSION,
    Answer,
    AnsweredItem,
    Attribution,
    ItemStatus,
)


def json_answer(call: Call, model: ServedModel, telling: Telling) -> bytes:
    """Return the body of an answer; that of a refused request has no predictions."""
    answer: Answer = {
        "schema": SCHEMA_VERSION,
        "request_id": call.origin.request_id,
        "model": model.name,
        "model_version": model.version,
        "predictions": [],
    }
    if call.fault is not None:
        answer["error"] = {"status": call.fault.status, "message": call.fault.message}
    else:
        answer["predictions"] = [_item(item, model, telling) for item in call.items]
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _item(item: Item, model: ServedModel, telling: Telling) -> AnsweredItem:
    answered: AnsweredItem = {"item": item.index, "status": item.status}
    if item.status is not ItemStatus.OK:
        answered["error"] = telling.message_of(item)
    if prediction := telling.prediction_of(item):
        answered["label"] = prediction.labels[0]
        answered["class_index"] = prediction.class_index
        answered["probability"] = prediction.ranked[0]
        if len(prediction.probabilities) <= MAX_LOGGED_CLASSES:
            answered["probabilities"] = prediction.probabilities
    if told := telling.verdict_of(item):
        answered["screening"] = {"verdict": told.verdict}
    if told := telling.score_of(item):
        answered["screening"]["score"] = told.score
        answered["screening"]["p_value"] = told.p_value
        answered["screening"]["threshold"] = model.threshold
    if item.attribution is not None:
        answered["attribution"] = _attribution(item.attribution)
    return answered


def _attribution(values: NDArray[np.float32]) -> Attribution:
    return {
        "method": METHOD,
        "shape": list(values.shape),
        "dtype": "float32",
        "data": base64.b64encode(values.astype("<f4").tobytes()).decode(),
    }
