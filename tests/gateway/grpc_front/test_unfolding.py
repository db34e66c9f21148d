"""Messages that would unfold to far more than their bytes are refused before they do."""

from __future__ import annotations

import time
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.grpc_front import messages, wire
from gateway.grpc_front.messages import PARTS, input_tensors, parse, requested_outputs
from gateway.refusal import Code, Refusal
from tests.gateway.grpc_front.asking import WHOLE, refused
from tests.gateway.grpc_front.fronts import Front
from tests.gateway.grpc_front.requests import raw, typed
from torchkeep.client.stubs import open_inference_pb2 as pb

MANY = 4 * 2**20
INPUTS, OUTPUTS, RAWS = b"\x2a", b"\x32", b"\x3a"


def delimited(tag: bytes, body: bytes) -> bytes:
    length, head = len(body), bytearray()
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return tag + bytes([*head, length]) + body


def read(body: bytes) -> Any:
    return parse(pb.ModelInferRequest, body, PARTS)


@pytest.mark.parametrize(
    "body",
    [
        (INPUTS + b"\x00") * MANY,
        (RAWS + b"\x00") * MANY,
        (OUTPUTS + b"\x00") * MANY,
        (b"\x22\x00") * MANY,  # parameters
        delimited(INPUTS, b"\x22\x00" * MANY),  # parameters of an input
        delimited(OUTPUTS, b"\x12\x00" * MANY),  # parameters of an output
        delimited(INPUTS, delimited(b"\x2a", b"\x42\x00" * MANY)),  # bytes_contents
        delimited(INPUTS, delimited(b"\x2a", b"\x20\x01" * MANY)),  # uint_contents, not packed
    ],
)
def test_millions_of_parts_are_counted_not_made(body: bytes) -> None:
    start = time.process_time()
    with pytest.raises(Refusal, match="more than 65536 fields") as caught:
        read(body)
    assert caught.value.code is Code.TOO_LARGE
    assert time.process_time() - start < 0.2  # protobuf alone takes longer


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            delimited(INPUTS, delimited(b"\x2a", delimited(b"\x22", bytes(9 * 2**20)))),
            "typed contents has more than 8388608 bytes; send them in raw_input_contents",
        ),
        (
            # in halves, each within the limit
            2 * delimited(INPUTS, delimited(b"\x2a", delimited(b"\x22", bytes(5 * 2**20)))),
            "typed contents has more than",
        ),
        (delimited(INPUTS, delimited(b"\x1a", b"\x01" * MANY)), "shapes has more than 10240 bytes"),
    ],
)
def test_long_lists_of_numbers_are_refused(body: bytes, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        read(body)


def test_a_few_too_many_are_refused_too() -> None:
    with pytest.raises(Refusal, match="17 inputs"):
        input_tensors(read(17 * (INPUTS + b"\x00")))
    with pytest.raises(Refusal, match="17 inputs"):
        input_tensors(read(INPUTS + b"\x00" + 17 * (RAWS + b"\x00")))
    with pytest.raises(Refusal, match="65 outputs"):
        requested_outputs(read(65 * (OUTPUTS + b"\x00")))
    assert requested_outputs(read(64 * (OUTPUTS + b"\x00"))) == [""] * 64


def test_values_that_cannot_be_right_are_never_made(
    served: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = typed(np.zeros((1_000, 1, 8, 8), dtype="|u1"))
    request.inputs[0].shape[0] = 1
    message = refused(served, request, grpc.StatusCode.INVALID_ARGUMENT)
    assert "has 64000 elements" in message
    (tensor,) = input_tensors(request)
    assert type(tensor.values) is not list  # still the message's own
    monkeypatch.setattr(messages, "MOST_VALUES", 63_999)
    with pytest.raises(Refusal, match="at most 63999 are taken there, send them in raw_input"):
        input_tensors(request)


def test_shapes_of_many_sides_are_refused() -> None:
    request = raw(WHOLE)
    request.inputs[0].shape[:] = [1] * 65
    with pytest.raises(Refusal, match=r"has shape \[1, 1, 1, 1, 1, 1, 1, 1, …\]"):
        input_tensors(request)


def test_large_sound_messages_pass(served: Front) -> None:
    images = np.zeros((5_000, 1, 8, 8), dtype="|u1")
    for request in (raw(images), typed(images)):
        assert len(request.SerializeToString()) > wire.UNFOLDS_FAST
        with served.stub() as stub:
            answer = stub.ModelInfer(request, metadata=served.metadata(), timeout=20)
        assert answer.outputs[0].shape == [5_000]


@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5),
    cut=st.integers(0, 20),
)
def test_the_walk_takes_whatever_protobuf_takes(changes: list[tuple[int, int]], cut: int) -> None:
    """It must neither fail on a sound message nor pass one by that it cannot follow."""
    request = typed(np.arange(64, dtype="|u1").reshape(1, 1, 8, 8), id="x")
    request.parameters["timeout"].int64_param = 7
    request.outputs.add(name="label").parameters["x"].string_param = "y"
    body = bytearray(request.SerializeToString())
    for place, value in changes:
        body[place % len(body)] = value
    del body[len(body) - cut :]
    filled = bytes(body) + delimited(RAWS, bytes(wire.UNFOLDS_FAST))
    try:
        pb.ModelInferRequest.FromString(filled)
    except DecodeError:
        with pytest.raises(Refusal):
            read(filled)
    else:
        read(filled)
