"""ModelInfer: tensors in, tensors out."""

from __future__ import annotations

from typing import Final

from gateway.grpc_front.deadlines import TIMEOUT, deadline_of
from gateway.grpc_front.messages import (
    PARTS,
    add_parameters,
    add_typed_outputs,
    input_tensors,
    parameter_of,
    parse,
    raw_outputs,
    requested_outputs,
)
from gateway.grpc_front.visit import Visit, text_of
from gateway.openinference.inputs import read_payload
from gateway.openinference.outputs import check_requested, outputs_of, parameters_of
from gateway.outcome import Outcome
from gateway.plane.data_plane import DataPlane
from gateway.principal import Permission
from gateway.question import Payload, Question
from gateway.refusal import Code, Refusal
from gateway.segments import parse_segments
from torchkeep.client.stubs.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from torchkeep.ids import valid_id
from torchkeep.schema import Operation

OPERATION: Final = "operation"
FAILED: Final = "the item was not answered"

_PERMISSIONS: Final = {
    Operation.PREDICT: Permission.PREDICT,
    Operation.EXPLAIN: Permission.EXPLAIN,
}


class Inference:
    """Answers ModelInfer."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def answer(self, visit: Visit, message: bytes) -> bytes:
        """Return a ModelInferResponse. Raises `Refusal`."""
        request = parse(ModelInferRequest, message, PARTS)
        arrival = visit.arrival
        arrival.model, arrival.version = request.model_name, request.model_version
        if not visit.named and (own := valid_id(request.id)):
            arrival.request_id = own
        timeout = None
        operation = Operation.PREDICT
        if request.parameters:
            operation = operation_of(parameter_of(request.parameters, OPERATION))
            timeout = parameter_of(request.parameters, TIMEOUT)
        arrival.operation = operation
        visit.require(_PERMISSIONS[operation])
        requested = requested_outputs(request)
        if requested is not None:
            check_requested(requested, operation)
        served = self._plane.find(request.model_name, request.model_version)
        payload = read_payload(input_tensors(request), served, operation)
        deadline = deadline_of(visit, self._plane.config.request_timeout_s, timeout)
        question = question_of(visit, operation, payload, deadline)
        outcome = await ask(self._plane, visit, question)
        if outcome.code is not Code.OK:
            raise Refusal(outcome.code, outcome.messages.get(0, FAILED))
        return _encode(outcome, request.id, requested, raw=bool(request.raw_input_contents))


def operation_of(value: object) -> Operation:
    """Return the operation that a parameter names, `predict` if there is none. Raises `Refusal`."""
    if value is None:
        return Operation.PREDICT
    for operation in _PERMISSIONS:
        if operation == value:
            return operation
    raise Refusal(
        Code.INVALID,
        f"the parameter {OPERATION!r} is {str(value)[:40]!r}; expected 'predict' or 'explain'",
    )


def question_of(
    visit: Visit,
    operation: Operation,
    payload: Payload,
    deadline: float,
    *,
    session_id: str | None = None,
    segments: str | bytes | None = None,
) -> Question:
    """Return what is asked; the metadata wins over the session and segments of the message."""
    metadata, arrival = visit.metadata, visit.arrival
    return Question(
        arrival=arrival,
        operation=operation,
        model=arrival.model,
        version=arrival.version,
        payload=payload,
        deadline=deadline,
        principal=visit.caller,
        session_id=valid_id(text_of(metadata, "x-session-id")) or valid_id(session_id),
        segments=parse_segments(text_of(metadata, "x-segments") or segments),
    )


async def ask(plane: DataPlane, visit: Visit, question: Question) -> Outcome:
    """Have a question answered; from here on its record is the data plane's to write."""
    visit.recorded = True
    return await plane.infer(question)


def _encode(outcome: Outcome, own_id: str, requested: list[str] | None, *, raw: bool) -> bytes:
    answer = ModelInferResponse(model_name=outcome.model, model_version=outcome.version, id=own_id)
    add_parameters(answer.parameters, parameters_of(outcome))
    outputs = outputs_of(outcome, requested)
    if raw:
        return answer.SerializeToString() + raw_outputs(outputs)
    add_typed_outputs(answer, outputs)
    return answer.SerializeToString()
