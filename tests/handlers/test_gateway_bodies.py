"""Whole bodies that a gateway passes on unopened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handlers.config import LimitsConfig
from monitoring.request_log import LogFullError, OnFull, RequestLogConfig
from tests.handlers.conftest import Bench, MakeBench
from tests.handlers.samples import b64, instances, npy, png
from tests.handlers.test_gateway import BEN, envelope, send
from torchkeep.envelope import NO_CLASS, BodyPayload, RequestEnvelope
from torchkeep.schema import ItemStatus, Operation

Images = NDArray[np.uint8]
FIXTURE = [HealthCheck.function_scoped_fixture]


def enclosed(body: bytes, content_type: str = "", **changes: Any) -> RequestEnvelope:
    """An envelope with Ben's whole body."""
    none = np.zeros(1, dtype=np.uint32)
    payload = BodyPayload(content_type, body)
    alone = envelope(payload, origins=[replace(BEN, items=1)], origin_index=none, item_index=none)
    return replace(alone, **changes)


def bodies(images: Images) -> list[tuple[bytes, str]]:
    encoded = [b64(png(images[0])), {"b64": "?"}, images[2].tolist()]
    return [
        (instances(*encoded), "application/json"),
        (npy(images), ""),
        (images.tobytes(), "application/octet-stream"),
        (png(images[0]), "image/png"),
    ]


@pytest.mark.parametrize("kind", range(4))
def test_an_enclosed_body_is_answered_as_if_it_had_come_directly(
    bench: Bench, images: Images, kind: int
) -> None:
    body, content_type = bodies(images)[kind]
    plain = bench.ask(body, content_type)["predictions"]
    answer = send(bench, enclosed(body, content_type))
    assert [status.value for status in answer.statuses] == [item["status"] for item in plain]
    for place, item in enumerate(plain):
        assert answer.class_index[place] == item.get("class_index", NO_CLASS)
        assert answer.messages.get(place) == item.get("error")
        if item["status"] == "ok":
            assert answer.probabilities[place].tolist() == pytest.approx(item["probabilities"])
    direct, through = np.split(np.array(bench.records()), 2)
    for record, other in zip(direct, through, strict=True):
        assert other["request_id"] == "ben-1"
        assert other["client"] == "beef"
        assert (other["item"], other["items"]) == (record["item"], len(plain))
        assert other["request_type"] == {**record["request_type"], "protocol": "gateway"}
        assert other["input_data_summary"] == record["input_data_summary"]


def test_an_enclosed_body_may_say_what_its_gateway_did_not(
    make_bench: MakeBench, images: Images
) -> None:
    bench = make_bench(log=RequestLogConfig(segment_attributes=("country",)))
    about = {
        "request_id": "mine",
        "correlation_id": "mine",
        "session_id": "mine",
        "segments": {"country": "DE", "secret": "y"},
    }
    body = instances(images[0].tolist(), **about)
    send(bench, enclosed(body, origins=[replace(BEN, items=1, session_id="s2")]))
    record = bench.records()[0]
    assert (record["request_id"], record["session_id"]) == ("ben-1", "s2")
    assert record["correlation_id"] == "mine"
    assert record["segments"] == {"country": "DE"}


def test_a_strangers_enclosed_body_is_answered_but_not_believed(
    bench: Bench, images: Images
) -> None:
    answer = send(bench, enclosed(npy(images)), key=None)
    assert list(answer.statuses) == [ItemStatus.OK] * 4
    assert np.isnan(answer.score).all()
    assert bench.records()[0]["client"] is None


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"junk", ItemStatus.UNSUPPORTED, "expected a multiple of 64 bytes"),
        (b"", ItemStatus.BAD_INPUT, "the body is empty"),
        (b'{"instances": []}', ItemStatus.BAD_INPUT, "the request has no items"),
        (b'{"instances": ["', ItemStatus.BAD_INPUT, "the JSON cannot be parsed"),
        (b"TKEP" + bytes(300), ItemStatus.UNSUPPORTED, "expected a multiple of 64 bytes"),
        (bytes(64 * 5), ItemStatus.TOO_LARGE, "the request has 5 items; at most 4 are taken"),
    ],
)
def test_an_enclosed_body_that_cannot_be_opened_is_one_failed_item(
    make_bench: MakeBench, body: bytes, status: ItemStatus, message: str
) -> None:
    bench = make_bench(limits=LimitsConfig(max_items=4))
    answer = send(bench, enclosed(body, "application/x-own"))
    assert list(answer.statuses) == [status]
    assert message in answer.messages[0]
    assert (answer.class_index.tolist(), list(answer.verdicts)) == ([NO_CLASS], [None])
    assert np.isnan([*answer.probability, *answer.score, *answer.p_value]).all()
    (record,) = bench.records()
    assert (record["request_id"], record["client"]) == ("ben-1", "beef")
    assert (record["item"], record["items"], record["status"]) == (0, 0, status)
    assert record["error"] == {"status": status, "message": answer.messages[0]}
    assert record["request_type"]["content_type"] == "application/x-own"


def test_too_many_items_of_an_enclosed_body_are_not_explained(
    make_bench: MakeBench, images: Images
) -> None:
    bench = make_bench(limits=LimitsConfig(max_explain_items=3))
    few = send(bench, enclosed(npy(images[:3]), operation=Operation.EXPLAIN))
    many = send(bench, enclosed(npy(images), operation=Operation.EXPLAIN))
    assert list(few.attributions) == [0, 1, 2]
    assert list(many.statuses) == [ItemStatus.TOO_LARGE]


@settings(deadline=None, max_examples=100, derandomize=True, suppress_health_check=FIXTURE)
@given(body=st.binary(max_size=300), content_type=st.text(max_size=30), head=st.integers(0, 7))
def test_any_enclosed_body_has_an_answer_and_records(
    bench: Bench, images: Images, body: bytes, content_type: str, head: int
) -> None:
    starts = (b"", b"{", b'{"instances": [', b"\x93NUMPY\x01\x00", b"\x89PNG\r\n\x1a\n", b"TKEP")
    whole = (*starts, png(images[0])[:-20], npy(images)[:-9])[head] + body
    before = len(bench.records())
    answer = send(bench, enclosed(whole, content_type.encode("utf-8", "ignore").decode()))
    assert ItemStatus.ERROR not in answer.statuses
    assert len(bench.records()) - before == len(answer.statuses)


def test_a_probe_with_a_body_that_cannot_be_opened_leaves_no_record(bench: Bench) -> None:
    answer = send(bench, enclosed(b"junk", operation=Operation.PROBE))
    assert list(answer.statuses) == [ItemStatus.UNSUPPORTED]
    assert bench.records() == []


def test_without_its_record_a_refusal_is_not_told(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(log=RequestLogConfig(on_full=OnFull.REFUSE))

    def full(records: object) -> None:
        raise LogFullError("no space")

    monkeypatch.setattr(bench.log, "write", full)
    answer = send(bench, enclosed(b"junk"))
    assert list(answer.statuses) == [ItemStatus.ERROR]
    assert "cannot be logged" in answer.messages[0]
