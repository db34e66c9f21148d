"""Bodies are what the protocols say, by readers that are not the benchmark's own."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http_front.infer_request import parse_infer
from gateway.openinference.tensors import unpack_bytes
from loadtests.benchmarks.serving.doors import (
    element_grpc,
    element_rest,
    framed,
    raw_rest,
    tensor_grpc,
    tensor_rest,
    torchserve_grpc,
)
from torchkeep.client.stubs.inference_pb2 import PredictionResponse, PredictionsRequest
from torchkeep.client.stubs.open_inference_pb2 import ModelInferRequest, ModelInferResponse

IMAGE = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
PIXELS = IMAGE.tobytes()
ROW = np.array([0.25, 0.5, 0.25], np.float32)
REST, RPC = "http://127.0.0.1:1", "http://127.0.0.1:2"
KEY = {"authorization": "Bearer k"}


@given(st.binary(max_size=2000))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_a_framed_message_has_its_length_before_it(message: bytes) -> None:
    wire = framed(message)
    assert wire[0] == 0
    assert int.from_bytes(wire[1:5], "big") == len(message)
    assert wire[5:] == message


def test_the_body_of_a_grpc_door_is_framed_and_that_of_rest_is_not() -> None:
    rest, rpc = raw_rest(REST, IMAGE), tensor_grpc(RPC, "m", IMAGE, {})
    assert rest.body == rest.message == PIXELS
    assert rpc.body == framed(rpc.message)
    assert rpc.sent_headers["content-type"] == "application/grpc"


def test_torchserve_gets_the_pixels_under_the_input_data() -> None:
    request = PredictionsRequest.FromString(torchserve_grpc(RPC, "bare", IMAGE).message)
    assert (request.model_name, dict(request.input)) == ("bare", {"data": PIXELS})


def test_the_gateway_reads_the_rest_body_as_the_same_image() -> None:
    door = tensor_rest(REST, IMAGE, KEY)
    length = door.headers["inference-header-content-length"].encode()
    (tensor,) = parse_infer(door.body, length).inputs
    assert (tensor.name, tensor.datatype, tensor.shape) == ("image", "UINT8", (1, 3, 4, 5))
    assert tensor.raw is not None
    assert bytes(tensor.raw) == PIXELS
    assert door.sent_headers["authorization"] == "Bearer k"


def test_model_infer_carries_the_image_as_raw_contents() -> None:
    request = ModelInferRequest.FromString(tensor_grpc(RPC, "m", IMAGE, {}).message)
    (tensor,) = request.inputs
    assert (request.model_name, tensor.name, tensor.datatype) == ("m", "image", "UINT8")
    assert (list(tensor.shape), list(request.raw_input_contents)) == ([1, 3, 4, 5], [PIXELS])


def test_an_element_holds_the_pixels_on_both_protocols() -> None:
    (sent,) = json.loads(element_rest(REST, IMAGE).body)["inputs"]
    assert (sent["shape"], sent["datatype"]) == ([1], "BYTES")
    assert base64.b64decode(sent["data"][0]) == PIXELS
    request = ModelInferRequest.FromString(element_grpc(RPC, "m", IMAGE).message)
    (element,) = unpack_bytes(request.raw_input_contents[0], 1)
    assert bytes(element) == PIXELS


def test_answers_in_json_are_read() -> None:
    body = json.dumps({"label": "b", "probabilities": ROW.tolist()}).encode()
    assert raw_rest(REST, IMAGE).read(body, {}).tolist() == ROW.tolist()
    message = PredictionResponse(prediction=body).SerializeToString()
    assert torchserve_grpc(RPC, "m", IMAGE).read(message, {}).tolist() == ROW.tolist()


def test_tensors_in_json_are_read_and_so_are_those_behind_it() -> None:
    door = tensor_rest(REST, IMAGE, {})
    label = {"name": "label", "datatype": "BYTES", "shape": [1]}
    plain = {"name": "probabilities", "datatype": "FP32", "shape": [1, 3]}
    told = {"outputs": [{**label, "data": ["b"]}, {**plain, "data": ROW.tolist()}]}
    assert door.read(json.dumps(told).encode(), {}).tolist() == ROW.tolist()
    sizes = [{"parameters": {"binary_data_size": size}} for size in (5, ROW.nbytes)]
    head = json.dumps({"outputs": [label | sizes[0], plain | sizes[1]]}).encode()
    answer = head + b"\1\0\0\0b" + ROW.tobytes()
    headers = {"inference-header-content-length": str(len(head))}
    assert door.read(answer, headers).tolist() == ROW.tolist()


@pytest.mark.parametrize("raw", [True, False])
def test_model_infer_answers_are_read_raw_and_typed(raw: bool) -> None:
    answer = ModelInferResponse()
    answer.outputs.add(name="label", datatype="BYTES", shape=[1])
    output = answer.outputs.add(name="probabilities", datatype="FP32", shape=[1, 3])
    if raw:
        answer.raw_output_contents.extend([b"\1\0\0\0b", ROW.tobytes()])
    else:
        output.contents.fp32_contents.extend(ROW.tolist())
    door = tensor_grpc(RPC, "m", IMAGE, {})
    assert door.read(answer.SerializeToString(), {}).tolist() == ROW.tolist()


def test_an_answer_without_probabilities_is_refused() -> None:
    with pytest.raises(ValueError, match="probabilities"):
        tensor_rest(REST, IMAGE, {}).read(b'{"outputs": []}', {})
    with pytest.raises(ValueError, match="probabilities"):
        tensor_grpc(RPC, "m", IMAGE, {}).read(ModelInferResponse().SerializeToString(), {})
