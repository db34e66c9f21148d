"""The answer to `/infer` and `/explain`: JSON, and behind it what was asked for as binary data.

Sources: Open Inference Protocol v2 (inference response object); Triton's "binary tensor data".
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.http_front.infer_request import InferRequest
from gateway.http_front.response import BINARY, Response
from gateway.openinference.outputs import outputs_of, parameters_of
from gateway.openinference.tensors import OutputTensor
from gateway.outcome import Outcome
from gateway.refusal import Code

JSON_LENGTH: Final = b"inference-header-content-length"
NO_PREDICTION: Final = "the item was not answered"


def infer_response(outcome: Outcome, request: InferRequest) -> Response:
    """Return the answer; a single item that failed gives its status and, as every error, a text."""
    tensors = outputs_of(outcome, request.requested)
    if outcome.code is not Code.OK:
        error = outcome.messages.get(0) or NO_PREDICTION
        document = {"error": error, **_document(outcome, request, list(map(_in_json, tensors)))}
        return Response(outcome.code.http, _encode(document))
    binary = _binary_names(request, tensors)
    described, blobs = [], []
    for tensor in tensors:
        if tensor.name in binary:
            raw = tensor.raw()
            blobs.append(raw)
            described.append(_in_binary(tensor, len(raw)))
        else:
            described.append(_in_json(tensor))
    head = _encode(_document(outcome, request, described))
    if not binary:
        return Response(200, head)
    length = (JSON_LENGTH, b"%d" % len(head))
    return Response(200, b"".join([head, *blobs]), BINARY, (length,))


def _document(
    outcome: Outcome, request: InferRequest, outputs: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "model_name": outcome.model,
        "model_version": outcome.version,
        "id": request.id or outcome.request_id,
        "parameters": parameters_of(outcome),
        "outputs": outputs,
    }


def _binary_names(request: InferRequest, tensors: list[OutputTensor]) -> set[str]:
    if request.outputs is not None:
        return {output.name for output in request.outputs if output.binary}
    return {tensor.name for tensor in tensors} if request.binary else set()


def _in_json(tensor: OutputTensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": tensor.shape,
        "data": tensor.flat(),
    }


def _in_binary(tensor: OutputTensor, size: int) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": tensor.shape,
        "parameters": {"binary_data_size": size},
    }


def _encode(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
