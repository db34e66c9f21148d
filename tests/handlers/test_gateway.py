"""Envelopes through the service: many callers in one call, believed only if signed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from handlers.config import ScreeningConfig
from handlers.request import Request
from monitoring.request_log import LogFullError, OnFull, RequestLogConfig
from tests.handlers.conftest import KEY, Bench, MakeBench, read
from tests.handlers.samples import png
from torchkeep.envelope import (
    CONTENT_TYPE,
    NO_CLASS,
    Origin,
    RequestEnvelope,
    ResponseEnvelope,
    decode_response,
    encode_request,
)
from torchkeep.schema import Disclose, ItemStatus, Operation, Policy, Role, Verdict

Images = NDArray[np.uint8]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ANNA = Origin(
    request_id="anna-1",
    items=3,
    correlation_id="trip",
    client="c0ffee",
    session_id="s1",
    traceparent=f"00-{TRACE}-00f067aa0ba902b7-01",
    segments={"country": "AT", "secret": "x"},
    attempt=2,
    role=Role.CANARY,
)
BEN = Origin(request_id="ben-1", items=2, client="beef")


def envelope(images: Any, **changes: Any) -> RequestEnvelope:
    whole = RequestEnvelope(
        operation=Operation.PREDICT,
        origins=[ANNA, BEN],
        origin_index=np.array([0, 1, 0, 1], dtype=np.uint32),
        item_index=np.array([2, 0, 0, 1], dtype=np.uint32),
        payload=images,
    )
    return replace(whole, **changes)


def send(bench: Bench, sent: RequestEnvelope, key: bytes | None = KEY) -> ResponseEnvelope:
    response = bench.send(encode_request(sent, key), CONTENT_TYPE, protocol="grpc")
    assert (response.http_status, response.content_type) == (200, CONTENT_TYPE)
    answer = decode_response(response.body, KEY)
    assert answer.authentic
    return answer


def test_every_item_is_logged_under_the_request_it_came_from(
    make_bench: MakeBench, images: Images
) -> None:
    bench = make_bench(log=RequestLogConfig(segment_attributes=("country",)))
    send(bench, envelope(images))
    first, second, third, fourth = bench.records()
    for record, item in ((first, 2), (third, 0)):
        assert (record["request_id"], record["item"], record["items"]) == ("anna-1", item, 3)
        assert (record["client"], record["role"], record["attempt"]) == ("c0ffee", "canary", 2)
        assert (record["correlation_id"], record["session_id"]) == ("trip", "s1")
        assert record["segments"] == {"country": "AT"}
        assert record["trace_id"] == TRACE
    for record, item in ((second, 0), (fourth, 1)):
        assert (record["request_id"], record["item"], record["client"]) == ("ben-1", item, "beef")
        assert record["request_type"]["protocol"] == "gateway"
        assert record["batch_size"] == 4
        assert "trace_id" not in record
    assert bench.log.writes == 1


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_an_unsigned_envelope_is_answered_but_not_believed(
    bench: Bench, images: Images, key: bytes | None
) -> None:
    past = replace(ANNA, deadline_ns=1)
    answer = send(bench, envelope(images, origins=[past, BEN]), key)
    assert list(answer.statuses) == [ItemStatus.OK] * 4
    record = bench.records()[0]
    assert (record["client"], record["role"], record["attempt"]) == (None, "default", 1)
    assert record["request_type"]["protocol"] == "grpc"
    assert (record["request_id"], record["item"]) == ("anna-1", 2)


def test_the_columns_say_what_the_json_says(bench: Bench, images: Images) -> None:
    answer = send(bench, envelope(images))
    plain = bench.ask(images.tobytes(), "application/octet-stream")["predictions"]
    assert (answer.model, answer.model_version) == ("digits", "1.0")
    assert answer.disclose is Disclose.VERDICT
    assert answer.threshold == pytest.approx(bench.model.threshold, rel=1e-6)
    assert answer.attributions == {}
    for place, item in enumerate(plain):
        assert answer.class_index[place] == item["class_index"]
        assert answer.labels[item["class_index"]] == item["label"]
        assert answer.probability[place] == pytest.approx(item["probability"])
        assert answer.probabilities[place].tolist() == pytest.approx(item["probabilities"])
        assert answer.verdicts[place] == item["screening"]["verdict"]
    np.testing.assert_allclose(answer.score, bench.model.screen(images).score, rtol=1e-5)


def test_a_gateway_knows_all_and_a_stranger_what_callers_may(
    make_bench: MakeBench, images: Images
) -> None:
    bench = make_bench(
        screening=ScreeningConfig(policy=Policy.REJECT, disclose=Disclose.NONE), threshold=-1.0
    )
    gateway, stranger = send(bench, envelope(images)), send(bench, envelope(images), None)
    for answer in (gateway, stranger):
        assert list(answer.statuses) == [ItemStatus.REJECTED] * 4
        assert answer.class_index.tolist() == [NO_CLASS] * 4
        assert answer.labels == {}
        assert np.isnan(answer.probability).all()
        assert answer.disclose is Disclose.NONE
    assert list(gateway.verdicts) == [Verdict.SUSPICIOUS] * 4
    assert np.isfinite(gateway.score).all()
    assert "suspicious" in gateway.messages[0]
    assert list(stranger.verdicts) == [None] * 4
    assert np.isnan([*stranger.score, *stranger.p_value, stranger.threshold]).all()
    assert stranger.messages[0] == "the item was not accepted"


def test_an_observed_gateway_is_told_that_callers_are_told_nothing(
    make_bench: MakeBench, images: Images
) -> None:
    bench = make_bench(screening=ScreeningConfig(policy=Policy.OBSERVE))
    answer = send(bench, envelope(images))
    assert answer.disclose is Disclose.NONE
    assert None not in answer.verdicts


def test_encoded_images_of_many_callers_have_their_own_ends(bench: Bench, images: Images) -> None:
    blobs = [png(images[0]), b"junk", png(images[1])[:30], png(images[1])]
    answer = send(bench, envelope(blobs))
    assert list(answer.statuses) == [
        ItemStatus.OK,
        ItemStatus.UNSUPPORTED,
        ItemStatus.BAD_INPUT,
        ItemStatus.OK,
    ]
    assert answer.messages == {
        1: "the item is no PNG, JPEG, WebP or npy",
        2: "the PNG image is truncated or damaged",
    }
    assert answer.class_index.tolist()[1:3] == [NO_CLASS, NO_CLASS]
    assert answer.verdicts[1] is answer.verdicts[2] is None
    assert np.isfinite(answer.probabilities[[0, 3]]).all()
    assert np.isnan(answer.probabilities[[1, 2]]).all()
    formats = [record["request_type"]["format"] for record in bench.records()]
    assert formats == ["png", "", "png", "png"]


def test_an_item_past_its_deadline_is_not_served(
    bench: Bench, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = replace(BEN, deadline_ns=time.monotonic_ns() - 1)
    timely = replace(ANNA, deadline_ns=time.monotonic_ns() + 60 * 10**9)
    served: list[int] = []
    real = bench.model.screen
    monkeypatch.setattr(
        bench.model, "screen", lambda images: served.append(len(images)) or real(images)
    )
    answer = send(bench, envelope(images, origins=[timely, late]))
    assert served == [2]
    assert [status.value for status in answer.statuses] == ["ok", "expired", "ok", "expired"]
    assert [record["status"] for record in bench.records()] == ["ok", "expired", "ok", "expired"]


def test_an_envelope_may_ask_for_explanations(bench: Bench, images: Images) -> None:
    answer = send(bench, envelope(images, operation=Operation.EXPLAIN))
    assert answer.attribution_method == "integrated_gradients"
    assert list(answer.attributions) == [0, 1, 2, 3]
    assert {values.shape for values in answer.attributions.values()} == {(1, 8, 8)}
    assert bench.records()[0]["request_type"]["operation"] == "explain"


@pytest.mark.parametrize(
    ("damage", "http_status", "message"),
    [
        (lambda data: data[:50], 400, "the envelope ends inside its origins"),
        (lambda data: data[:4] + b"\x09" + data[5:], 400, "the envelope has version 9; expected 2"),
        (lambda data: data + b"\0", 400, "the envelope has 1 bytes too many"),
    ],
)
def test_a_damaged_envelope_is_refused_in_json(
    bench: Bench, images: Images, damage: Any, http_status: int, message: str
) -> None:
    response = bench.send(damage(encode_request(envelope(images), KEY)), CONTENT_TYPE)
    assert (response.http_status, response.content_type) == (http_status, "application/json")
    assert read(response)["error"]["message"] == message
    assert len(bench.records()) == 1


def test_a_tensor_of_another_shape_is_refused(bench: Bench) -> None:
    sent = envelope(np.zeros((4, 1, 7, 8), dtype=np.uint8))
    response = bench.send(encode_request(sent, KEY))
    assert response.http_status == 400
    assert read(response)["error"]["message"] == (
        "the envelope's tensor has images of shape 1 × 7 × 8; expected 1 × 8 × 8"
    )


def test_a_bad_float_in_a_gateways_tensor_is_its_own_items_fault(
    bench: Bench, images: Images
) -> None:
    floats = (images / np.float32(255)).astype(np.float32)
    floats[1, 0, 0, 0] = np.nan
    answer = send(bench, envelope(floats))
    assert [status.value for status in answer.statuses] == ["ok", "bad_input", "ok", "ok"]


def test_a_probe_is_served_in_full_and_leaves_no_record(bench: Bench, images: Images) -> None:
    asked = send(bench, envelope(images))
    before = bench.records()
    probed = send(bench, envelope(images, operation=Operation.PROBE))
    np.testing.assert_array_equal(probed.probabilities, asked.probabilities)
    np.testing.assert_array_equal(probed.score, asked.score)
    assert bench.records() == before


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_a_stranger_may_not_probe(
    bench: Bench, images: Images, monkeypatch: pytest.MonkeyPatch, key: bytes | None
) -> None:
    monkeypatch.setattr(bench.model, "screen", None)  # whoever calls it fails
    probe = encode_request(envelope(images, operation=Operation.PROBE), key)
    response = bench.send(probe, CONTENT_TYPE)
    assert response.http_status == 400
    assert read(response)["error"]["message"] == "only a gateway may probe"
    assert [record["status"] for record in bench.records()] == ["bad_input"]


def test_a_probe_beside_others_changes_nothing_for_them(bench: Bench, images: Images) -> None:
    sent = [envelope(images, operation=Operation.PROBE), envelope(images)]
    requests = [Request(body=encode_request(one, KEY), protocol="grpc") for one in sent]
    for response in bench.service.answer(requests):
        assert list(decode_response(response.body, KEY).statuses) == [ItemStatus.OK] * 4
    assert [record["item"] for record in bench.records()] == [2, 0, 0, 1]


def test_a_probe_does_not_fail_for_want_of_a_log(
    make_bench: MakeBench, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(log=RequestLogConfig(on_full=OnFull.REFUSE))

    def full(records: object) -> None:
        raise LogFullError("no space")

    monkeypatch.setattr(bench.log, "write", full)
    sent = [envelope(images, operation=Operation.PROBE), envelope(images)]
    requests = [Request(body=encode_request(one, KEY), protocol="grpc") for one in sent]
    probe, asked = (
        decode_response(response.body, KEY) for response in bench.service.answer(requests)
    )
    assert list(probe.statuses) == [ItemStatus.OK] * 4
    assert list(asked.statuses) == [ItemStatus.ERROR] * 4
    assert "cannot be logged" in asked.messages[0]


@pytest.mark.parametrize("traceparent", ["", "00-junk", f"00-{TRACE}-00f067aa0ba902b7-01-more"])
def test_only_a_traceparent_that_is_one_names_a_trace(
    bench: Bench, images: Images, traceparent: str
) -> None:
    bench.send(png(images[0]), traceparent=traceparent)
    bench.send(png(images[0]), traceparent=ANNA.traceparent)
    without, with_ = bench.records()
    assert "trace_id" not in without
    assert with_["trace_id"] == TRACE
