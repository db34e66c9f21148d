"""How an answer is read, whatever the protocol: `torchkeep.schema.Answer` as JSON, strictly.

A field that is missing or is not what the schema says makes the whole answer malformed; fields
that the schema does not know (a newer server's) are passed over.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from torchkeep.client import failures
from torchkeep.client.fields import FieldError, Fields
from torchkeep.client.results import (
    Attribution,
    ExplainedItem,
    ExplainResult,
    Health,
    Item,
    PredictResult,
    Screening,
)
from torchkeep.schema import SCHEMA_VERSION, ItemStatus, Verdict

MAX_ANSWER_BYTES: Final = 64 * 2**20
ROUNDING: Final = 1e-6
"""By how much a probability may pass 1: a float32 softmax does not sum to 1 exactly."""


def parse_answer(
    body: bytes, *, request_id: str | None = None, items: int | None = None
) -> PredictResult:
    """Read the answer to a prediction of `items` items (None: any number, but at least one).

    Raises `RequestError`, naming `request_id`, if the model refused the whole request or if the
    answer is malformed.
    """
    with _malformed(request_id):
        answer = _read(body, request_id, items)
        return PredictResult(
            request_id=answer.request_id,
            model=answer.model,
            model_version=answer.model_version,
            items=tuple(Item(**_told(row)) for row in answer.rows),
        )


def parse_explanation(
    body: bytes, *, request_id: str | None = None, items: int | None = None
) -> ExplainResult:
    """Read the answer to a request for explanations; as `parse_answer` otherwise."""
    with _malformed(request_id):
        answer = _read(body, request_id, items)
        return ExplainResult(
            request_id=answer.request_id,
            model=answer.model,
            model_version=answer.model_version,
            items=tuple(_explained(row) for row in answer.rows),
        )


def parse_health(body: bytes | str) -> Health:
    """Read what the server says of itself; raise `RequestError` if it is malformed."""
    with _malformed(None):
        status = Fields(orjson.loads(body), "health").text("status")
        return Health(healthy=status == "Healthy", status=status)


def is_answer(body: bytes) -> bool:
    """Whether a body claims to be an answer: a refusal may also come from TorchServe or a proxy."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and "schema" in value


@dataclass(frozen=True, slots=True)
class _Answer:
    request_id: str
    model: str
    model_version: str
    rows: list[Fields]


@contextmanager
def _malformed(request_id: str | None) -> Iterator[None]:
    try:
        yield
    except (FieldError, orjson.JSONDecodeError) as fault:
        raise failures.malformed(fault, request_id) from fault


def _read(body: bytes, request_id: str | None, items: int | None) -> _Answer:
    """Read what does not depend on the operation; check the order and number of the items."""
    answer = Fields(orjson.loads(body), "answer")
    version = answer.whole("schema")
    if version != SCHEMA_VERSION:
        raise FieldError(f"it has schema {version}, this client reads schema {SCHEMA_VERSION}")
    if "error" in answer:
        error = answer.fields("error")
        status, message = error.choice("status", ItemStatus), error.text("message")
        raise failures.refused(status, message, request_id or answer.text("request_id"))
    predictions = answer.items("predictions")
    rows = [Fields(value, f"predictions[{i}]") for i, value in enumerate(predictions)]
    if [row.whole("item") for row in rows] != list(range(len(rows))):
        raise FieldError("its items are not in the order of the request")
    if len(rows) != (items or len(rows)) or not rows:
        raise FieldError(f"it has {len(rows)} items, expected {items or 'at least one'}")
    return _Answer(
        answer.text("request_id"), answer.text("model"), answer.text("model_version"), rows
    )


def _told(row: Fields) -> dict[str, Any]:
    """Return the fields of an `Item`."""
    status = row.choice("status", ItemStatus)
    values: dict[str, Any] = {"item": row.whole("item"), "status": status}
    if "screening" in row:
        values["screening"] = _screening(row.fields("screening"))
    if status is not ItemStatus.OK:
        return values | {"error": row.text("error")}
    return values | _prediction(row)


def _prediction(row: Fields) -> dict[str, Any]:
    index = row.whole("class_index")
    probabilities = _array(row.numbers("probabilities")) if "probabilities" in row else None
    if probabilities is not None and index >= len(probabilities):
        raise FieldError(f"class_index {index} is beyond its {len(probabilities)} probabilities")
    probability = row.number("probability")
    if not 0 <= probability <= 1 + ROUNDING:
        raise FieldError(f"the probability {probability} is not in 0..1")
    return {
        "label": row.text("label"),
        "class_index": index,
        "probability": probability,
        "probabilities": probabilities,
    }


def _screening(told: Fields) -> Screening:
    numbers = {
        name: told.number(name) for name in ("score", "p_value", "threshold") if name in told
    }
    return Screening(verdict=told.choice("verdict", Verdict), **numbers)


def _explained(row: Fields) -> ExplainedItem:
    values = _told(row)
    if values["status"] is ItemStatus.OK:
        values["attribution"] = _attribution(row.fields("attribution"))
    return ExplainedItem(**values)


def _attribution(told: Fields) -> Attribution:
    shape = told.items("shape")
    if len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape):
        raise FieldError(f"the attribution's shape {shape} is not channels, height, width")
    if told.text("dtype") != "float32":
        raise FieldError("the attribution is not float32")
    try:
        data = base64.b64decode(told.text("data"), validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: not ASCII
        raise FieldError("the attribution's data is not base64") from error
    if len(data) != 4 * math.prod(shape):
        raise FieldError(f"the attribution has {len(data)} bytes, not what shape {shape} needs")
    values = np.frombuffer(data, dtype="<f4").reshape(shape)
    return Attribution(method=told.text("method"), values=values)


def _array(numbers: list[float]) -> NDArray[np.float64]:
    array = np.array(numbers, dtype=np.float64)
    array.setflags(write=False)
    return array
