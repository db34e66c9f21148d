"""The envelope says what was put in, and takes nothing else."""

from __future__ import annotations

import hashlib
import hmac
import struct
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep import envelope
from torchkeep.envelope import (
    BodyPayload,
    EnvelopeError,
    Origin,
    RequestEnvelope,
    ResponseEnvelope,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from torchkeep.schema import Disclose, ItemStatus, Operation, Role, Verdict

KEY = bytes(range(32))
OTHER_KEY = bytes(32)
FUZZ = settings(deadline=None, max_examples=150, derandomize=True)

FULL_ORIGIN = Origin(
    request_id="a" * 128,
    items=3,
    correlation_id="trip-1",
    client="0123456789abcdef",
    session_id="s:1",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    segments={"country": "Österreich", "plan": ""},
    deadline_ns=2**63,
    attempt=2,
    role=Role.CANARY,
)


def request_envelope(**changes: Any) -> RequestEnvelope:
    pixels = np.arange(3 * 2 * 4 * 5, dtype=np.uint8).reshape(3, 2, 4, 5)
    whole = RequestEnvelope(
        operation=Operation.EXPLAIN,
        origins=[FULL_ORIGIN, Origin(request_id="b", items=9)],
        origin_index=np.array([0, 1, 0], dtype=np.uint32),
        item_index=np.array([2, 8, 0], dtype=np.uint32),
        payload=pixels,
    )
    return replace(whole, **changes)


def response_envelope(**changes: Any) -> ResponseEnvelope:
    nan = float("nan")
    whole = ResponseEnvelope(
        model="mnist",
        model_version="1.0",
        disclose=Disclose.VERDICT,
        threshold=4.5,
        statuses=[ItemStatus.OK, ItemStatus.REJECTED, ItemStatus.BAD_INPUT],
        verdicts=[Verdict.CLEAN, Verdict.FAILED, None],
        class_index=np.array([1, -1, -1], dtype=np.int32),
        probability=np.array([0.75, nan, nan], dtype=np.float32),
        score=np.array([0.5, 9.0, nan], dtype=np.float32),
        p_value=np.array([0.25, 0.001, nan], dtype=np.float32),
        probabilities=np.array([[0.25, 0.75], [nan, nan], [nan, nan]], dtype=np.float32),
        labels={1: "eins"},
        messages={1: "screened out", 2: "not an image"},
        attribution_method="integrated_gradients",
        attributions={0: np.linspace(-1, 1, 40, dtype=np.float32).reshape(2, 4, 5)},
    )
    return replace(whole, **changes)


def read_request(data: bytes, key: bytes | None = KEY) -> RequestEnvelope:
    return decode_request(data, key, max_items=100)


def signed(body: bytes) -> bytes:
    """Sign a body that no honest encoder writes."""
    return body + hmac.digest(KEY, body, hashlib.sha256)


def assert_same_request(left: RequestEnvelope, right: RequestEnvelope) -> None:
    assert left.operation is right.operation
    assert list(left.origins) == list(right.origins)
    np.testing.assert_array_equal(left.origin_index, right.origin_index)
    np.testing.assert_array_equal(left.item_index, right.item_index)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_request_with_a_tensor_comes_out_as_it_went_in(dtype: type) -> None:
    sent = request_envelope(payload=request_envelope().payload.astype(dtype))
    seen = read_request(encode_request(sent, KEY))
    assert_same_request(seen, sent)
    assert seen.authentic
    assert isinstance(seen.payload, np.ndarray)
    assert seen.payload.dtype == dtype
    np.testing.assert_array_equal(seen.payload, sent.payload)


def test_a_request_with_encoded_images_comes_out_as_it_went_in() -> None:
    sent = request_envelope(payload=[b"one", b"", b"three" * 100])
    seen = read_request(encode_request(sent, KEY))
    assert_same_request(seen, sent)
    assert [bytes(blob) for blob in seen.payload] == [b"one", b"", b"three" * 100]


def body_envelope(payload: BodyPayload, **changes: Any) -> RequestEnvelope:
    single = RequestEnvelope(
        operation=Operation.PREDICT,
        origins=[FULL_ORIGIN],
        origin_index=np.zeros(1, dtype=np.uint32),
        item_index=np.zeros(1, dtype=np.uint32),
        payload=payload,
    )
    return replace(single, **changes)


def test_a_body_for_several_items_is_refused() -> None:
    two = np.zeros(2, dtype=np.uint32)
    sent = body_envelope(BodyPayload("", b"x"), origin_index=two, item_index=two)
    with pytest.raises(EnvelopeError, match="a body for 2 items; expected 1"):
        read_request(encode_request(sent, KEY))


def test_a_body_of_another_length_than_it_says_is_refused() -> None:
    data = encode_request(body_envelope(BodyPayload("", b"0123456789")), KEY)
    for changed, fault in ((data[:-33], "ends inside its body"), (data[:-32] + b"x", "too many")):
        with pytest.raises(EnvelopeError, match=fault):
            read_request(signed(changed))


def test_a_payload_of_an_unknown_kind_is_refused() -> None:
    data = encode_request(body_envelope(BodyPayload("", b"0123456789")), KEY)
    payload = data[:-49]  # kind, 2 + 4 bytes of lengths, 10 of the body, 32 of the signature
    assert data[len(payload)] == 4
    with pytest.raises(EnvelopeError, match="payload 9; expected 1 to 4"):
        read_request(signed(payload + b"\x09" + data[len(payload) + 1 : -32]))


def test_a_response_comes_out_as_it_went_in() -> None:
    sent = response_envelope()
    seen = decode_response(encode_response(sent, KEY), KEY)
    assert seen.authentic
    for name in ("model", "model_version", "disclose", "threshold", "statuses", "verdicts"):
        assert getattr(seen, name) == getattr(sent, name)
    for name in ("class_index", "probability", "score", "p_value", "probabilities"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(sent, name))
    assert (seen.labels, seen.messages) == (sent.labels, sent.messages)
    assert seen.attribution_method == sent.attribution_method
    np.testing.assert_array_equal(seen.attributions[0], sent.attributions[0])


def test_a_response_without_probabilities_comes_out_as_it_went_in() -> None:
    sent = response_envelope(probabilities=np.empty((3, 0), dtype=np.float32))
    assert decode_response(encode_response(sent, KEY), KEY).probabilities.shape == (3, 0)


texts = st.text(max_size=20).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
ids = st.text("abcXYZ019._:-", min_size=1, max_size=128)
origins = st.builds(
    Origin,
    request_id=ids,
    items=st.integers(1, 2**32 - 1),
    correlation_id=st.none() | ids,
    client=st.none() | ids,
    session_id=st.none() | ids,
    traceparent=texts,
    segments=st.dictionaries(texts, texts, max_size=5),
    deadline_ns=st.integers(0, 2**64 - 1),
    attempt=st.integers(1, 255),
    role=st.sampled_from(Role),
)


@FUZZ
@given(st.lists(origins, min_size=1, max_size=5), st.sampled_from(Operation))
def test_any_origins_come_out_as_they_went_in(made: list[Origin], operation: Operation) -> None:
    sent = RequestEnvelope(
        operation=operation,
        origins=made,
        origin_index=np.arange(len(made), dtype=np.uint32),
        item_index=np.zeros(len(made), dtype=np.uint32),
        payload=[b"x"] * len(made),
    )
    assert_same_request(read_request(encode_request(sent, KEY)), sent)


@FUZZ
@given(texts, st.binary(max_size=200), st.sampled_from(Operation))
def test_a_body_comes_out_as_it_went_in(kind: str, body: bytes, operation: Operation) -> None:
    sent = body_envelope(BodyPayload(kind, body), operation=operation)
    seen = read_request(encode_request(sent, KEY))
    assert_same_request(seen, sent)
    assert isinstance(seen.payload, BodyPayload)
    assert (seen.payload.content_type, bytes(seen.payload.data)) == (kind, body)


@pytest.mark.parametrize("key", [None, OTHER_KEY])
def test_a_signature_by_another_key_or_none_is_not_authentic(key: bytes | None) -> None:
    assert not read_request(encode_request(request_envelope(), key)).authentic
    assert not decode_response(encode_response(response_envelope(), key), KEY).authentic


def test_a_reader_without_a_key_believes_nobody() -> None:
    assert not read_request(encode_request(request_envelope(), None), key=None).authentic
    assert not read_request(encode_request(request_envelope(), KEY), key=None).authentic


def test_whoever_changes_one_bit_is_not_authentic() -> None:
    data = bytearray(encode_request(request_envelope(), KEY))
    for position in range(len(data)):
        data[position] ^= 1
        with suppress(EnvelopeError):
            assert not read_request(bytes(data)).authentic, position
        data[position] ^= 1
    assert read_request(bytes(data)).authentic


def test_a_stranger_loses_what_only_a_gateway_may_say() -> None:
    stranger = FULL_ORIGIN.as_stranger()
    assert (stranger.client, stranger.deadline_ns) == (None, 0)
    assert (stranger.attempt, stranger.role) == (1, Role.DEFAULT)
    assert (stranger.request_id, stranger.session_id) == (FULL_ORIGIN.request_id, "s:1")


def test_a_request_is_no_response_and_a_response_no_request() -> None:
    with pytest.raises(EnvelopeError, match="kind 2; expected 1"):
        read_request(encode_response(response_envelope(), KEY))
    with pytest.raises(EnvelopeError, match="kind 1; expected 2"):
        decode_response(encode_request(request_envelope(), KEY), KEY)


def test_an_envelope_of_another_version_is_refused() -> None:
    data = bytearray(encode_request(request_envelope(), KEY))
    data[4] = 1
    with pytest.raises(EnvelopeError, match="version 1; expected 2"):
        read_request(bytes(data))


def test_more_items_than_allowed_are_refused() -> None:
    with pytest.raises(EnvelopeError, match="holds 3 items; expected 1 to 2"):
        decode_request(encode_request(request_envelope(), KEY), KEY, max_items=2)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"origin_index": np.array([0, 2, 0])}, "names an origin"),
        ({"item_index": np.array([3, 8, 0])}, "outside the request"),
        ({"origins": [Origin(request_id="no id!", items=9)]}, "request id of an origin is no id"),
        ({"origins": [Origin(request_id="", items=9)]}, "no request id"),
        ({"origins": [Origin(request_id="a", items=9, client="x\n")]}, "client of an origin"),
        ({"origins": [Origin(request_id="a", items=9, attempt=0)]}, "attempts count from 1"),
        ({"origins": [Origin(request_id=str(i), items=9) for i in range(4)]}, "4 origins for 3"),
        ({"origins": []}, "0 origins"),
        (
            {
                "origins": [
                    Origin(request_id="a", items=9, segments=dict.fromkeys(map(str, range(33)), ""))
                ]
            },
            "33 segments",
        ),
        ({"payload": np.zeros((3, 1, 0, 5), dtype=np.uint8)}, "images of the envelope are empty"),
        ({"payload": np.zeros((2, 1, 4, 5), dtype=np.uint8)}, "ends inside its tensor"),
        ({"payload": np.zeros((4, 1, 4, 5), dtype=np.uint8)}, "20 bytes too many"),
    ],
)
def test_an_envelope_that_breaks_its_rules_is_refused(changes: Any, fault: str) -> None:
    with pytest.raises(EnvelopeError, match=fault):
        read_request(encode_request(request_envelope(**changes), KEY))


def test_an_envelope_without_items_is_refused() -> None:
    none = np.empty(0, dtype=np.uint32)
    with pytest.raises(EnvelopeError, match="holds 0 items"):
        read_request(
            encode_request(request_envelope(origin_index=none, item_index=none, payload=[]), KEY)
        )


def test_a_text_that_does_not_fit_is_not_written() -> None:
    long = Origin(request_id="a", items=1, segments={"note": "x" * 65_536})
    traced = replace(FULL_ORIGIN, traceparent="x" * 65_536)
    for origin in (long, traced):
        with pytest.raises(EnvelopeError, match="65536 bytes does not fit"):
            encode_request(request_envelope(origins=[origin]), KEY)


@pytest.mark.parametrize(
    "sent", [request_envelope(), body_envelope(BodyPayload("image/png", b"0123456789"))]
)
def test_every_shortened_request_is_refused(sent: RequestEnvelope) -> None:
    data = encode_request(sent, KEY)
    for length in range(len(data) - 32):
        with pytest.raises(EnvelopeError):
            read_request(signed(data[:length]))


def test_every_shortened_response_is_refused() -> None:
    data = encode_response(response_envelope(), KEY)
    for length in range(len(data) - 32):
        with pytest.raises(EnvelopeError):
            decode_response(signed(data[:length]), KEY)


@pytest.mark.parametrize(
    "claim",
    [
        struct.pack("<4sBBBII", b"TKEP", 2, 1, 0, 2**32 - 1, 2**32 - 1),
        struct.pack("<4sBBBII", b"TKEP", 2, 1, 0, 1, 99) + b"\0" * 1000,
        struct.pack("<4sBBBIIf", b"TKEP", 2, 2, 0, 2**32 - 1, 2**32 - 1, 0.0) + b"\0" * 4,
    ],
)
def test_a_claim_of_much_allocates_little(claim: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(EnvelopeError):
            decode_request(signed(claim), KEY, max_items=2**32)
        with pytest.raises(EnvelopeError):
            decode_response(signed(claim), KEY)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def survives(data: bytes) -> None:
    """Reading hostile bytes ends in an envelope or an `EnvelopeError`, nothing else."""
    for read in (lambda: read_request(data), lambda: decode_response(data, KEY)):
        with suppress(EnvelopeError):
            read()


@FUZZ
@given(st.binary(max_size=300))
def test_random_bytes_are_survived(tail: bytes) -> None:
    survives(tail)
    survives(envelope.MAGIC + tail)
    for kind in (1, 2):
        survives(signed(envelope.MAGIC + bytes([2, kind]) + tail))


@FUZZ
@given(st.data())
def test_mutated_envelopes_are_survived(data: st.DataObject) -> None:
    whole = data.draw(
        st.sampled_from(
            [
                encode_request(request_envelope(), KEY),
                encode_request(request_envelope(payload=[b"a", b"bb", b""]), KEY),
                encode_request(body_envelope(BodyPayload("image/png", b"0123456789")), KEY),
                encode_response(response_envelope(), KEY),
            ]
        )
    )
    body = bytearray(whole[:-32])
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    survives(signed(bytes(body)))
