"""ModelInfer: everything that may be wrong with a request, and who may ask."""

from __future__ import annotations

import re
import struct
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.refusal import Code
from tests.gateway.grpc_front.asking import WHOLE, ask, refused, with_parameter
from tests.gateway.grpc_front.fronts import Front
from tests.gateway.grpc_front.requests import raw, typed
from torchkeep.client.stubs import open_inference_pb2 as pb

Images = NDArray[np.uint8]
StatusCode = grpc.StatusCode


def mangled(**changes: Any) -> pb.ModelInferRequest:
    request = raw(WHOLE)
    for name, value in changes.items():
        setattr(request.inputs[0], name, value)
    return request


def shaped(*sides: int) -> pb.ModelInferRequest:
    request = raw(WHOLE)
    request.inputs[0].shape[:] = sides
    return request


def contents(*blobs: bytes) -> pb.ModelInferRequest:
    request = raw(WHOLE)
    request.raw_input_contents[:] = blobs
    return request


def both() -> pb.ModelInferRequest:
    request = typed(WHOLE)
    request.raw_input_contents.append(bytes(64))
    return request


def wrong_field() -> pb.ModelInferRequest:
    request = raw(WHOLE)
    request.raw_input_contents.pop()
    request.inputs[0].contents.fp32_contents.extend([0.0] * 64)
    return request


def asking(**outputs: str) -> pb.ModelInferRequest:
    request = raw(WHOLE)
    for name, parameter in outputs.items():
        output = request.outputs.add(name=name)
        if parameter:
            output.parameters[parameter].int64_param = 1
    return request


def sharing() -> pb.ModelInferRequest:
    request = raw(WHOLE)
    request.inputs[0].parameters["shared_memory_region"].string_param = "region"
    return request


def typed_half() -> pb.ModelInferRequest:
    request = mangled(datatype="FP16")
    request.raw_input_contents.pop()
    return request


INVALID = {
    "no inputs": (pb.ModelInferRequest(model_name="digits"), "expected exactly one, 'image'"),
    "another name": (mangled(name="picture"), "has the inputs 'picture'; expected exactly one"),
    "another datatype": (mangled(datatype="INT64"), "has datatype 'INT64'; expected one of UINT8"),
    "one image": (shaped(1, 8, 8), r"send one image as \[1, 1, 8, 8\]"),
    "transposed": (shaped(1, 8, 8, 1), r"has shape \[1, 8, 8, 1\]; expected \[N, 1, 8, 8\]"),
    "no items": (shaped(0, 1, 8, 8), "has 0 items"),
    "negative": (shaped(-1, 1, 8, 8), "has -1 items"),
    "no shape": (shaped(), r"has shape \[\]"),
    "raw too short": (contents(bytes(63)), r"has 63 bytes; UINT8 of shape .* needs 64"),
    "raw too long": (contents(bytes(65)), r"has 65 bytes; UINT8 of shape .* needs 64"),
    "raw empty": (contents(b""), "has 0 bytes"),
    "too many raw": (contents(bytes(64), bytes(64)), "2 raw_input_contents for 1 inputs"),
    "neither": (contents(), "the data of the input 'image' has 0"),
    "both": (both(), "has contents, and the request raw_input_contents too"),
    "the wrong field": (wrong_field(), "has values in fp32_contents; expected them in uint_cont"),
    "typed 16-bit floats": (typed_half(), "16-bit floats travel in raw_input_contents"),
    "an unknown output": (asking(colour=""), "there is no output 'colour'; there are item_status"),
    "an attribution": (asking(attribution=""), "there is no output 'attribution'"),
    "an operation": (with_parameter("operation", string_param="train"), "is 'train'; expected 'pr"),
    "no operation": (with_parameter("operation", int64_param=1), "is '1'; expected 'predict'"),
    "a timeout": (with_parameter("timeout", string_param="soon"), "expected whole microseconds"),
    "a negative timeout": (with_parameter("timeout", int64_param=-1), "is '-1'; expected whole"),
    "half a timeout": (with_parameter("timeout", double_param=0.5), "expected whole microseconds"),
}


@pytest.mark.parametrize(("request_", "message"), INVALID.values(), ids=INVALID)
def test_what_is_wrong_is_said(served: Front, request_: Any, message: str) -> None:
    assert re.search(message, refused(served, request_, StatusCode.INVALID_ARGUMENT))


@pytest.mark.parametrize(
    ("sides", "code"),
    [
        ((2**63 - 1, 1, 8, 8), StatusCode.OUT_OF_RANGE),
        ((2**62, 2**62, 2**62, 2**62), StatusCode.INVALID_ARGUMENT),
        ((-(2**63), 1, 8, 8), StatusCode.INVALID_ARGUMENT),
        ((1,) * 10_000, StatusCode.INVALID_ARGUMENT),
        ((10_001, 1, 8, 8), StatusCode.OUT_OF_RANGE),
    ],
)
def test_a_shape_beyond_reason_costs_nothing(
    served: Front, sides: tuple[int, ...], code: StatusCode
) -> None:
    assert len(refused(served, shaped(*sides), code)) < 300


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (sharing(), "the input 'image' names shared memory"),
        (asking(label="shared_memory_region"), "the output 'label' names shared memory"),
        (asking(label="classification"), "ask for the outputs 'label' and 'probability'"),
    ],
)
def test_what_is_not_offered_names_what_is(served: Front, request_: Any, message: str) -> None:
    assert message in refused(served, request_, StatusCode.UNIMPLEMENTED)


def test_who_asks_has_to_be_known_and_allowed(served: Front) -> None:
    with served.stub() as stub:
        for metadata in ((), (("authorization", "Basic x"),), (("authorization", "Bearer x"),)):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(raw(WHOLE), metadata=metadata, timeout=20)
            assert caught.value.code() is StatusCode.UNAUTHENTICATED
            assert "torchkeep key add" in caught.value.details()
            assert served.last().code is Code.UNAUTHENTICATED
            assert served.last().arrival.principal is None
    explain = with_parameter("operation", string_param="explain")
    ask(served, raw(WHOLE), "predictor")
    ask(served, explain, "explainer")
    for key, request in (("predictor", explain), ("explainer", raw(WHOLE)), ("observer", explain)):
        assert "lacks the permission" in refused(served, request, StatusCode.PERMISSION_DENIED, key)


def test_models_that_are_not_served_are_not_found(served: Front) -> None:
    request = raw(WHOLE)
    request.model_name = "cats"
    assert "no model 'cats' is served" in refused(served, request, StatusCode.NOT_FOUND)
    request.model_name, request.model_version = "digits", "7"
    assert "served: 1.0" in refused(served, request, StatusCode.NOT_FOUND)
    request.model_version = "1.0"
    assert ask(served, request).model_version == "1.0"


def test_ids_travel_and_come_back(served: Front) -> None:
    marks = {"x_request_id": "mine-1", "x_correlation_id": "trip", "x_session_id": "s-1"}
    metadata = served.metadata(**marks, x_segments='{"plan": "pro"}', traceparent="00-x")
    with served.stub() as stub:
        answer, call = stub.ModelInfer.with_call(raw(WHOLE, id="other"), metadata=metadata)
    assert answer.id == "other"
    assert dict(call.trailing_metadata())["x-request-id"] == "mine-1"
    assert answer.parameters["request_id"].string_param == "mine-1"
    arrival = served.last().arrival
    assert (arrival.request_id, arrival.correlation_id) == ("mine-1", "trip")
    assert (arrival.traceparent, arrival.protocol, arrival.items) == ("00-x", "grpc", 1)
    assert arrival.route == "inference.GRPCInferenceService/ModelInfer"
    assert arrival.bytes_in > 64
    assert ask(served, raw(WHOLE, id="body-1")).parameters["request_id"].string_param == "body-1"
    odd = ask(served, raw(WHOLE, id="no id!"), x_request_id="nor this")
    assert odd.id == "no id!"
    assert len(odd.parameters["request_id"].string_param) == 32
    with pytest.raises(grpc.RpcError) as caught:
        ask(served, mangled(name="x"), x_request_id="mine-2")
    assert dict(caught.value.trailing_metadata())["x-request-id"] == "mine-2"
    assert "plan" in refused(served, raw(WHOLE), StatusCode.INVALID_ARGUMENT, x_segments="[]")


def test_bytes_that_are_no_message_are_refused(served: Front) -> None:
    with served.channel() as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for body in (b"\xff\xff", b"\x0a\x05ab", struct.pack("<I", 7) * 9):
            with pytest.raises(grpc.RpcError) as caught:
                call(body, metadata=served.metadata(), timeout=20)
            assert caught.value.code() is StatusCode.INVALID_ARGUMENT
            assert "no message ModelInferRequest" in caught.value.details()
            assert served.last().code is Code.INVALID
