"""TorchServe's own service, so that its clients ask the gateway as they ask TorchServe.

As there, an answer is OK and its JSON says what became of each item; only a request that is refused
as a whole is an error.
"""

from __future__ import annotations

from typing import Final

from gateway.grpc_front.deadlines import deadline_of
from gateway.grpc_front.inference import OPERATION, ask, operation_of, question_of
from gateway.grpc_front.messages import parse
from gateway.grpc_front.visit import Visit
from gateway.plane.data_plane import DataPlane
from gateway.principal import Permission
from gateway.refusal import Code, Refusal
from gateway.torchserve_api.answer_json import answer_json
from gateway.torchserve_api.body import payload_of_body
from torchkeep.client.stubs.inference_pb2 import (
    PredictionResponse,
    PredictionsRequest,
    TorchServeHealthResponse,
)
from torchkeep.ids import valid_id
from torchkeep.schema import Operation

BODY_KEYS: Final = ("body", "data")
LONGEST_TYPE: Final = 256
NO_INPUT: Final = "no input found: send the bytes as the input `data`"
HEALTHY: Final = '{"status": "Healthy"}'
UNHEALTHY: Final = '{"status": "Unhealthy"}'


class TorchServeApi:
    """Answers Ping and Predictions."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def ping(self, _: Visit, __: bytes) -> bytes:
        """Ping; unlike TorchServe's, it says whether a model answers."""
        health = HEALTHY if self._plane.ready() else UNHEALTHY
        return TorchServeHealthResponse(health=health).SerializeToString()

    async def predictions(self, visit: Visit, message: bytes) -> bytes:
        """Predictions. Raises `Refusal`."""
        request = parse(PredictionsRequest, message)
        given = request.input
        arrival = visit.arrival
        arrival.model, arrival.version = request.model_name, request.model_version
        if not visit.named and (own := _id(given.get("request_id"))):
            arrival.request_id = own
        arrival.correlation_id = arrival.correlation_id or _id(given.get("correlation_id"))
        operation = operation_of(_text(given.get(OPERATION)) or None)
        arrival.operation = operation
        explains = operation is Operation.EXPLAIN
        visit.require(Permission.EXPLAIN if explains else Permission.PREDICT)
        served = self._plane.find(request.model_name, request.model_version)
        body = next((given[key] for key in BODY_KEYS if key in given), None)
        if body is None:
            raise Refusal(Code.INVALID, NO_INPUT)
        question = question_of(
            visit,
            operation,
            payload_of_body(body, _content_type(given.get("content_type")), served),
            deadline_of(visit, self._plane.config.request_timeout_s),
            session_id=_id(given.get("session_id")),
            segments=given.get("segments"),
        )
        outcome = await ask(self._plane, visit, question)
        return PredictionResponse(prediction=answer_json(outcome)).SerializeToString()


def _content_type(value: bytes | None) -> str:
    if value is not None and len(value) > LONGEST_TYPE:
        raise Refusal(
            Code.INVALID,
            f"the content_type has {len(value)} bytes; at most {LONGEST_TYPE} are taken",
        )
    return _text(value)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("latin-1")


def _id(value: bytes | None) -> str | None:
    return valid_id(_text(value))
