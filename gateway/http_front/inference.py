"""Endpoints that ask the model: the protocol's own, and TorchServe's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config import MIB
from gateway.http_front.body import read_body
from gateway.http_front.infer_answer import JSON_LENGTH, infer_response
from gateway.http_front.infer_request import parse_infer
from gateway.http_front.request import Request
from gateway.http_front.response import Response
from gateway.openinference.inputs import read_payload
from gateway.openinference.outputs import check_requested
from gateway.torchserve_api.answer_json import answer_json
from gateway.torchserve_api.body import payload_of_body
from torchkeep.ids import valid_id
from torchkeep.schema import Operation

if TYPE_CHECKING:
    from gateway.http_front.app import RestApp


async def infer(front: RestApp, request: Request) -> Response:
    """`POST /v2/models/{model}[/versions/{version}]/infer`."""
    return await _infer(front, request, Operation.PREDICT)


async def explain(front: RestApp, request: Request) -> Response:
    """`POST /v2/models/{model}[/versions/{version}]/explain`: as infer, with attributions."""
    return await _infer(front, request, Operation.EXPLAIN)


async def predictions(front: RestApp, request: Request) -> Response:
    """`POST /predictions/{model}[/{version}]`: the body is the image."""
    return await _torchserve(front, request, Operation.PREDICT)


async def explanations(front: RestApp, request: Request) -> Response:
    """`POST /explanations/{model}[/{version}]`: the body is the image."""
    return await _torchserve(front, request, Operation.EXPLAIN)


async def _infer(front: RestApp, request: Request, operation: Operation) -> Response:
    body = await _body(front, request, operation)
    asked = parse_infer(body, request.headers.get(JSON_LENGTH))
    if asked.id and b"x-request-id" not in request.headers and valid_id(asked.id):
        request.arrival.request_id = asked.id
    if asked.outputs is not None:
        check_requested([output.name for output in asked.outputs], operation)
    served = front.plane.find(request.params["model"], request.params.get("version", ""))
    payload = read_payload(asked.inputs, served, operation)
    timeout_s = request.timeout_s(front.config.request_timeout_s)
    if asked.timeout_s:
        timeout_s = min(timeout_s, asked.timeout_s)
    question = request.question(operation, payload, timeout_s)
    outcome = await request.infer(front.plane.infer, question)
    return infer_response(outcome, asked)


async def _torchserve(front: RestApp, request: Request, operation: Operation) -> Response:
    body = await _body(front, request, operation)
    served = front.plane.find(request.params["model"], request.params.get("version", ""))
    payload = payload_of_body(body, request.header(b"content-type"), served)
    timeout_s = request.timeout_s(front.config.request_timeout_s)
    question = request.question(operation, payload, timeout_s)
    outcome = await request.infer(front.plane.infer, question)
    return Response(outcome.code.http, answer_json(outcome))


async def _body(front: RestApp, request: Request, operation: Operation) -> bytes:
    arrival = request.arrival
    arrival.operation = operation
    arrival.model, arrival.version = request.params["model"], request.params.get("version", "")
    return await read_body(request, front.budget, front.config.max_body_mib * MIB)
