"""Requests at random: always an answer or a message, never a fault of the server."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.grpc_front.fronts import Front
from tests.gateway.grpc_front.requests import files, raw, typed
from tests.handlers.samples import npy, png
from torchkeep.client.stubs import open_inference_pb2 as pb

StatusCode = grpc.StatusCode
EXAMPLES = 400

IMAGES = np.arange(128, dtype="|u1").reshape(2, 1, 8, 8)
SOUND = [
    raw(IMAGES),
    typed(IMAGES),
    raw((IMAGES / 255).astype("<f4"), id="x"),
    files([png(IMAGES[0]), npy(IMAGES[1])], as_raw=True),
    files([png(IMAGES[0])], as_raw=False),
]
TEXTS = st.one_of(st.sampled_from(["image", "digits", "", "UINT8", "BYTES", "1.0"]), st.text())
NUMBERS = st.one_of(st.sampled_from([0, 1, 8, -1, 2**63 - 1, -(2**63)]), st.integers(-10, 100))
PARAMETERS = st.dictionaries(
    st.sampled_from(["operation", "timeout", "binary_data_size", "shared_memory_region", "x"]),
    st.one_of(
        st.builds(lambda v: pb.InferParameter(int64_param=v), NUMBERS),
        st.builds(lambda v: pb.InferParameter(string_param=v), TEXTS),
        st.builds(lambda v: pb.InferParameter(double_param=v), st.floats()),
        st.builds(lambda v: pb.InferParameter(bool_param=v), st.booleans()),
        st.just(pb.InferParameter()),
    ),
    max_size=2,
)
CONTENTS = st.builds(
    pb.InferTensorContents,
    uint_contents=st.lists(st.integers(0, 300), max_size=3),
    fp32_contents=st.lists(st.floats(width=32), max_size=3),
    bytes_contents=st.lists(st.binary(max_size=20), max_size=3),
    bool_contents=st.lists(st.booleans(), max_size=2),
)
INPUTS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=TEXTS,
    datatype=st.one_of(st.sampled_from(["UINT8", "FP32", "FP16", "BF16", "BYTES", "BOOL"]), TEXTS),
    shape=st.one_of(st.just([1, 1, 8, 8]), st.lists(NUMBERS, max_size=6)),
    parameters=PARAMETERS,
    contents=st.one_of(st.none(), CONTENTS),
)
OUTPUTS = st.builds(
    pb.ModelInferRequest.InferRequestedOutputTensor,
    name=st.one_of(st.sampled_from(["label", "score", "attribution", "probabilities"]), TEXTS),
    parameters=PARAMETERS,
)
REQUESTS = st.builds(
    pb.ModelInferRequest,
    model_name=st.one_of(st.just("digits"), TEXTS),
    model_version=st.one_of(st.just(""), TEXTS),
    id=TEXTS,
    parameters=PARAMETERS,
    inputs=st.lists(INPUTS, max_size=2),
    outputs=st.lists(OUTPUTS, max_size=3),
    raw_input_contents=st.lists(st.one_of(st.binary(max_size=64), st.just(bytes(64))), max_size=2),
)


def attempt(served: Front, method: str, body: bytes, **metadata: str) -> Any:
    """Return what comes back: bytes or an error."""
    with served.channel() as channel:
        call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        try:
            return call(body, metadata=served.metadata(**metadata), timeout=20)
        except grpc.RpcError as error:
            return error


def checked(served: Front, body: bytes, **metadata: str) -> None:
    """Hold that what comes back is an answer or a refusal, with one record."""
    before = len(served.records())
    told = attempt(served, "ModelInfer", body, **metadata)
    (record,) = served.records()[before:]
    if isinstance(told, bytes):
        assert pb.ModelInferResponse.FromString(told).outputs
        assert record.code.grpc is StatusCode.OK
        return
    assert told.code() not in (StatusCode.INTERNAL, StatusCode.UNKNOWN), told
    assert told.code() is not StatusCode.DEADLINE_EXCEEDED or b"timeout" in body
    assert told.details()
    assert "\n" not in told.details()
    assert record.code.grpc is told.code()


@settings(deadline=None, max_examples=EXAMPLES, derandomize=True)
@given(request_=REQUESTS)
def test_any_fields(served: Front, request_: Any) -> None:
    checked(served, request_.SerializeToString())


@settings(deadline=None, max_examples=EXAMPLES, derandomize=True)
@given(
    sound=st.sampled_from([one.SerializeToString() for one in SOUND]),
    changes=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 50),
)
def test_any_mutated_bytes(
    served: Front, sound: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    body = bytearray(sound)
    for place, value in changes:
        body[place % len(body)] = value
    checked(served, bytes(body[: len(body) - cut]))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    value=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60),
    key=st.sampled_from(["x_request_id", "x_correlation_id", "x_session_id", "x_segments"]),
)
def test_any_metadata(served: Front, key: str, value: str) -> None:
    checked(served, raw(IMAGES).SerializeToString(), **{key: value})


@pytest.mark.parametrize(
    "method", ["ModelMetadata", "ModelConfig", "ModelStatistics", "ModelReady"]
)
@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    body=st.one_of(
        st.binary(max_size=30),
        st.builds(lambda t: pb.ModelConfigRequest(name=t).SerializeToString(), TEXTS),
    )
)
def test_any_question_about_models(served: Front, method: str, body: bytes) -> None:
    told = attempt(served, method, body)
    if not isinstance(told, bytes):
        assert told.code() in (StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND)
        assert told.details()
