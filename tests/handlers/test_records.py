"""The request log: an answered item is a logged item, with all that the schema asks for."""

from __future__ import annotations

import base64
import errno
import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from handlers.answers import AnswerBuilder
from handlers.request import Request
from monitoring.request_log import OnFull, RequestLogConfig
from tests.handlers.conftest import Bench, MakeBench, read
from tests.handlers.samples import instances, npy, png
from torchkeep.schema import InferenceRecord, Operation, Screening, fields_of

RAW = "application/octet-stream"
Images = NDArray[np.uint8]


def test_a_record_has_every_field_the_schema_requires(bench: Bench, images: Images) -> None:
    bench.ask(images.tobytes(), RAW, request_id="r", correlation_id="c", session_id="s")
    for place, record in enumerate(bench.records()):
        required = {field.name for field in fields_of(InferenceRecord) if field.required}
        assert record.keys() == required | {"session_id"}
        assert record["screening"].keys() == {field.name for field in fields_of(Screening)}
        assert (record["schema"], record["kind"]) == (1, "inference")
        assert (record["request_id"], record["correlation_id"]) == ("r", "c")
        assert (record["role"], record["attempt"], record["client"]) == ("default", 1, None)
        assert (record["item"], record["items"], record["batch_size"]) == (place, 4, 4)
        assert (record["model"], record["model_version"]) == ("digits", "1.0")
        assert record["artifact_digest"] == bench.artifact.digest
        assert (record["device"], record["worker"]) == ("cpu", os.getpid())
        assert record["request_type"] == {
            "protocol": "rest",
            "content_type": RAW,
            "format": "raw",
            "operation": "predict",
        }


def test_a_record_says_what_was_answered(bench: Bench, images: Images) -> None:
    answer = bench.ask(images.tobytes(), RAW)
    batch = bench.model.screen(images)
    for place, record in enumerate(bench.records()):
        item = answer["predictions"][place]
        assert record["request_id"] == answer["request_id"]
        assert record["prediction"][0] == item["label"]
        assert sorted(record["prediction"]) == sorted(bench.model.classes)
        assert record["probability"] == sorted(item["probabilities"], reverse=True)
        embedding = np.frombuffer(base64.b64decode(record["embedding"]), dtype="<f2")
        np.testing.assert_array_equal(embedding, batch.embedding[place])
        summary = record["input_data_summary"]
        assert (summary["shape"], summary["dtype"], summary["bytes"]) == ([1, 8, 8], "uint8", 64)
        assert summary["mean"] == pytest.approx([images[place].mean() / 255], abs=1e-6)
        assert sum(summary["histogram"]) == 64


def test_the_times_of_a_call_add_up(bench: Bench, images: Images) -> None:
    bench.ask(images.tobytes(), RAW)
    times = [record["runtime_ms"] for record in bench.records()]
    assert times == [times[0]] * 4
    assert 0 < times[0]["decode"] < times[0]["total"]
    assert 0 < times[0]["screen_predict"] < times[0]["total"]
    assert times[0]["decode"] + times[0]["screen_predict"] < times[0]["total"]


def test_sizes_are_as_received(bench: Bench, images: Images) -> None:
    encoded = png(images[0])
    bodies = [encoded, npy(images / 255), instances(images[0].tolist())]
    for body in bodies:
        bench.ask(body)
    sizes = [record["input_data_summary"]["bytes"] for record in bench.records()]
    assert sizes == [len(encoded), 512, 512, 512, 512, len(bodies[2])]


def test_the_record_is_on_disk_before_there_is_an_answer(
    bench: Bench, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines_seen: list[int] = []
    real = AnswerBuilder.answer

    def answer(self: AnswerBuilder, call: Any) -> Any:
        lines_seen.append(len(bench.records()))
        return real(self, call)

    monkeypatch.setattr(AnswerBuilder, "answer", answer)
    requests = [Request(body=png(image), protocol="grpc") for image in images]
    bench.service.answer(requests)
    assert lines_seen == [4, 4, 4, 4]
    assert bench.log.writes == 1


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("monitoring.segment.os.write", write)


def test_a_full_disk_refuses_every_item_if_the_setting_says_so(
    make_bench: MakeBench, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(log=RequestLogConfig(on_full=OnFull.REFUSE))
    full_disk(monkeypatch)
    many = bench.send(images.tobytes(), RAW)
    assert many.http_status == 200
    reason = "the request cannot be logged, and nothing is answered without a record"
    assert read(many)["predictions"] == [
        {"item": place, "status": "error", "error": reason} for place in range(4)
    ]
    one = bench.send(png(images[0]), operation=Operation.EXPLAIN)
    assert one.http_status == 500
    assert read(one)["predictions"] == [{"item": 0, "status": "error", "error": reason}]
    refused = bench.send(b"")
    assert refused.http_status == 500
    assert read(refused)["error"] == {"status": "error", "message": reason}
    monkeypatch.undo()
    assert bench.records() == []
    assert bench.send(png(images[0])).http_status == 200


def test_a_full_disk_answers_and_counts_if_the_setting_says_so(
    make_bench: MakeBench, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(log=RequestLogConfig(on_full=OnFull.ANSWER))
    full_disk(monkeypatch)
    assert bench.send(images.tobytes(), RAW).http_status == 200
    assert bench.log.dropped == 4
    monkeypatch.undo()
    bench.ask(png(images[0]))
    assert [record["dropped_before"] for record in bench.records()] == [4]


def test_a_log_that_fails_in_any_other_way_refuses_too(
    bench: Bench, images: Images, caplog: pytest.LogCaptureFixture
) -> None:
    bench.log.close()
    response = bench.send(png(images[0]))
    assert response.http_status == 500
    assert "1 records could not be written" in caplog.text


def test_pixels_are_logged_only_as_a_sample(make_bench: MakeBench, images: Images) -> None:
    none, every = make_bench(), make_bench(log=RequestLogConfig(sample_inputs=1.0))
    floats = images / np.float32(255)
    for bench in (none, every):
        bench.ask(images.tobytes(), RAW)
        bench.ask(npy(floats))
        bench.ask(b"no image")
    assert not any("input" in record for record in none.records())
    *records, refused = every.records()
    assert "input" not in refused
    for record, image in zip(records, [*images, *floats], strict=True):
        logged = record["input"]
        assert logged["shape"] == [1, 8, 8]
        pixels = np.frombuffer(base64.b64decode(logged["data"]), dtype=logged["dtype"])
        np.testing.assert_array_equal(pixels.reshape(1, 8, 8), image)


def test_a_sample_takes_its_share(make_bench: MakeBench) -> None:
    bench = make_bench(log=RequestLogConfig(sample_inputs=0.25))
    bench.ask(bytes(64 * 400), RAW, request_id="fixed")
    sampled = sum("input" in record for record in bench.records())
    assert 60 <= sampled <= 140


def test_only_allowed_segments_are_logged(make_bench: MakeBench, images: Images) -> None:
    bench = make_bench(log=RequestLogConfig(segment_attributes=("country", "plan")))
    segments = '{"country": "AT", "plan": "x", "email": "a@b"}'
    bench.ask(png(images[0]), segments=segments)
    bench.ask(instances(images[0], segments={"country": "DE", "name": "Eve"}))
    bench.ask(png(images[0]), segments='{"country": 5, "plan": "' + "x" * 129 + '"}')
    for odd in ["[", "[]", "5", '{"country": "AT"' + " " * 9000 + "}"]:
        bench.ask(png(images[0]), segments=odd)
    found = [record.get("segments") for record in bench.records()]
    assert found == [{"country": "AT", "plan": "x"}, {"country": "DE"}] + [None] * 5
