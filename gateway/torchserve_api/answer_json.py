"""An outcome as the JSON that TorchServe's own interface answers (`torchkeep.schema.Answer`).

It is what the handler answers to a direct call, to the byte.
"""

from __future__ import annotations

import base64

import numpy as np
import orjson
from numpy.typing import NDArray

from gateway.outcome import Outcome
from torchkeep.schema import (
    MAX_LOGGED_CLASSES,
    SCHEMA_VERSION,
    Answer,
    AnsweredItem,
    AnsweredScreening,
    Attribution,
    ItemStatus,
)

NO_MESSAGE = "the item was not answered"


def answer_json(outcome: Outcome) -> bytes:
    """Return the body of an answer."""
    # single precision, so that it is written as short as the probabilities
    probability = np.asarray(outcome.probability, dtype=np.float32)
    answer: Answer = {
        "schema": SCHEMA_VERSION,
        "request_id": outcome.request_id,
        "model": outcome.model,
        "model_version": outcome.version,
        "predictions": [_item(outcome, place, probability) for place in range(len(outcome))],
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _item(outcome: Outcome, place: int, probability: NDArray[np.float32]) -> AnsweredItem:
    status = outcome.statuses[place]
    answered: AnsweredItem = {"item": place, "status": status}
    if status is ItemStatus.OK:
        answered["label"] = outcome.labels[place]
        answered["class_index"] = int(outcome.class_index[place])
        answered["probability"] = probability[place]
        if 0 < outcome.probabilities.shape[1] <= MAX_LOGGED_CLASSES:
            answered["probabilities"] = np.ascontiguousarray(outcome.probabilities[place])
    else:
        answered["error"] = outcome.messages.get(place, NO_MESSAGE)
    if screening := _screening(outcome, place):
        answered["screening"] = screening
    if (attribution := outcome.attributions.get(place)) is not None:
        answered["attribution"] = _attribution(outcome.attribution_method, attribution)
    return answered


def _screening(outcome: Outcome, place: int) -> AnsweredScreening | None:
    verdict = outcome.verdicts[place]
    if verdict is None:
        return None
    told: AnsweredScreening = {"verdict": verdict}
    if outcome.score is not None and outcome.p_value is not None and outcome.threshold is not None:
        told["score"] = outcome.score[place]
        told["p_value"] = outcome.p_value[place]
        told["threshold"] = outcome.threshold
    return told


def _attribution(method: str, values: NDArray[np.float32]) -> Attribution:
    return {
        "method": method,
        "shape": list(values.shape),
        "dtype": "float32",
        "data": base64.b64encode(values.astype("<f4").tobytes()).decode(),
    }
