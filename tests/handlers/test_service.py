"""The data plane: what is answered, item by item, and which HTTP status a request gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from handlers.config import LimitsConfig
from handlers.request import Request
from tests.handlers.conftest import Bench, MakeBench, read
from tests.handlers.samples import b64, encoded, instances, npy, png, png_claiming
from torchkeep.schema import ItemStatus

RAW = "application/octet-stream"
Images = NDArray[np.uint8]


def statuses(answer: dict[str, Any]) -> list[str]:
    return [item["status"] for item in answer["predictions"]]


def test_an_answer_has_what_the_schema_says(bench: Bench, images: Images) -> None:
    response = bench.send(images.tobytes(), RAW, request_id="mine-1")
    answer = read(response)
    assert response.http_status == 200
    assert response.content_type == "application/json"
    assert response.request_id == "mine-1"
    assert answer.keys() == {"schema", "request_id", "model", "model_version", "predictions"}
    assert (answer["request_id"], answer["model"]) == ("mine-1", "digits")
    assert answer["model_version"] == "1.0"
    for place, item in enumerate(answer["predictions"]):
        assert (item["item"], item["status"]) == (place, "ok")
        assert item["label"] == bench.model.classes[item["class_index"]]
        assert np.argmax(item["probabilities"]) == item["class_index"]
        assert item["probability"] == max(item["probabilities"])
        assert sum(item["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert item["screening"].keys() == {"verdict"}


def test_every_format_of_the_same_image_is_answered_alike(bench: Bench, images: Images) -> None:
    image = images[0]
    answers = [
        bench.ask(body, content_type)["predictions"][0]
        for body, content_type in [
            (image.tobytes(), RAW),
            (png(image), "image/png"),
            (encoded(image[0], "WEBP", lossless=True), "image/webp"),
            (npy(image), ""),
            (npy(image / np.float32(255)), ""),
            (instances(image), "application/json"),
            (instances(image / 255), "application/json"),
            (instances(b64(png(image))), ""),
            (bytearray(png(image)), ""),
        ]
    ]
    for answer in answers:
        assert answer["label"] == answers[0]["label"]
        assert answer["probabilities"] == pytest.approx(answers[0]["probabilities"], abs=1e-6)


def test_many_items_take_one_forward_pass(
    bench: Bench, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = spy_on_screen(bench, monkeypatch)
    assert statuses(bench.ask(images.tobytes(), RAW)) == ["ok"] * 4
    assert sizes == [4]


def test_mixed_dtypes_take_one_forward_pass_too(
    bench: Bench, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = spy_on_screen(bench, monkeypatch)
    body = instances(images[0], images[1] / 255, b64(npy(images[2] / 255)), b64(png(images[3])))
    together = bench.ask(body)["predictions"]
    assert sizes == [4]
    for place, item in enumerate(together):
        alone = bench.ask(images[place].tobytes(), RAW)["predictions"][0]
        assert item["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)
    dtypes = [record["input_data_summary"]["dtype"] for record in bench.records()[:4]]
    assert dtypes == ["uint8", "float32", "float32", "uint8"]


def test_a_large_call_takes_several_bounded_passes(
    make_bench: MakeBench, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(limits=LimitsConfig(max_forward_batch=3))
    sizes = spy_on_screen(bench, monkeypatch)
    answer = bench.ask(np.concatenate([images, images]).tobytes(), RAW)
    assert sizes == [3, 3, 2]
    assert [item["item"] for item in answer["predictions"]] == list(range(8))
    assert bench.log.writes == 1
    assert [record["batch_size"] for record in bench.records()] == [3, 3, 3, 3, 3, 3, 2, 2]
    labels = [item["label"] for item in answer["predictions"]]
    assert labels[:4] == labels[4:]


def test_the_requests_of_one_batch_share_a_pass_and_a_write(
    bench: Bench, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = spy_on_screen(bench, monkeypatch)
    bodies: list[bytes] = [png(images[0]), b"no image", images[1:].tobytes(), b""]
    requests = [
        Request(body=body, protocol="rest", request_id=f"r{place}")
        for place, body in enumerate(bodies)
    ]
    responses = bench.service.answer(requests)
    assert sizes == [4]
    assert bench.log.writes == 1
    assert [response.http_status for response in responses] == [200, 415, 200, 400]
    assert [response.request_id for response in responses] == ["r0", "r1", "r2", "r3"]
    assert [len(read(response)["predictions"]) for response in responses] == [1, 0, 3, 0]


def test_a_bad_items_neighbours_are_answered(bench: Bench, images: Images) -> None:
    good = b64(png(images[0]))
    nan = npy(np.full((8, 8), np.nan))
    body = instances(
        good, b64(b"hello"), good, b64(png_claiming(50_000, 50_000)), b64(nan), [[1]], good
    )
    response = bench.send(body)
    assert response.http_status == 200
    answer = read(response)
    assert statuses(answer) == [
        "ok",
        "unsupported_media_type",
        "ok",
        "too_large",
        "bad_input",
        "bad_input",
        "ok",
    ]
    for item in answer["predictions"]:
        assert ("error" in item) == (item["status"] != "ok")
        assert ("label" in item) == (item["status"] == "ok")
    alone = bench.ask(png(images[0]))["predictions"][0]
    probabilities = answer["predictions"][6]["probabilities"]
    assert probabilities == pytest.approx(alone["probabilities"], rel=1e-5)  # batches round apart


SMALL = np.zeros((7, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("body", "status", "http_status", "message"),
    [
        (
            encoded(np.zeros((8, 8), dtype=np.uint8))[:40],
            "bad_input",
            400,
            "the PNG image is truncated or damaged",
        ),
        (
            png_claiming(50_000, 50_000),
            "too_large",
            413,
            "the PNG image has 50000 × 50000 pixels; at most 16777216 in all are taken",
        ),
        (
            encoded(SMALL),
            "bad_input",
            400,
            "the PNG image has 7 × 8 pixels (height × width); expected 8 × 8",
        ),
        (
            npy(np.full((8, 8), np.nan)),
            "bad_input",
            400,
            "pixels are NaN or infinite; expected 0 to 1",
        ),
        (
            npy(np.full((8, 8), 2.0)),
            "bad_input",
            400,
            "pixels lie in 2 to 2; expected 0 to 1 for floats (or send uint8)",
        ),
        (instances({"b64": "?"}), "bad_input", 400, "the instance is not valid base64"),
    ],
)
def test_a_single_bad_item_gives_its_status_to_the_request(
    bench: Bench, body: bytes, status: str, http_status: int, message: str
) -> None:
    response = bench.send(body)
    assert response.http_status == http_status
    answer = read(response)
    assert answer["predictions"] == [{"item": 0, "status": status, "error": message}]
    (record,) = bench.records()
    assert record["error"] == {"status": status, "message": message}
    assert (record["item"], record["items"], record["status"]) == (0, 1, status)
    assert record["input_data_summary"] is record["screening"] is record["embedding"] is None
    assert (record["prediction"], record["probability"], record["batch_size"]) == ([], [], 0)


@pytest.mark.parametrize(
    ("body", "http_status", "status", "message"),
    [
        (b"", 400, "bad_input", "the body is empty"),
        (b"hello", 415, "unsupported_media_type", "the body is no PNG"),
        (npy(SMALL), 400, "bad_input", "the npy has shape 7 × 8; expected 1 × 8 × 8"),
        (b"{]", 400, "bad_input", "the JSON cannot be parsed"),
        (b'{"instances": []}', 400, "bad_input", "the request has no items"),
        (
            bytes(64 * 10_001),
            413,
            "too_large",
            "the request has 10001 items; at most 10000 are taken",
        ),
        (
            npy(np.zeros((10_001, 8, 8), dtype=np.uint8)),
            413,
            "too_large",
            "the request has 10001 items; at most 10000 are taken",
        ),
        (
            instances(*[0] * 10_001),
            413,
            "too_large",
            "the request has 10001 items; at most 10000 are taken",
        ),
        (None, 400, "bad_input", "no input found: send the bytes as the body itself"),
    ],
)
def test_a_request_that_cannot_be_taken_apart_is_refused_and_logged(
    bench: Bench, body: bytes | None, http_status: int, status: str, message: str
) -> None:
    declared = "application/json" if body == b"{]" else ""
    response = bench.send(body, declared, request_id="odd-1", session_id="s")
    answer = read(response)
    assert response.http_status == http_status
    assert answer["predictions"] == []
    assert answer["error"]["status"] == status
    assert answer["error"]["message"].startswith(message)
    (record,) = bench.records()
    assert record["error"] == answer["error"]
    assert (record["request_id"], record["session_id"]) == ("odd-1", "s")
    assert (record["item"], record["items"], record["batch_size"]) == (0, 0, 0)
    assert record["input_data_summary"] is None


def test_ten_thousand_items_are_answered_and_logged(bench: Bench) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 1, 8, 8), dtype=np.uint8)
    assert statuses(bench.ask(pixels.tobytes(), RAW)) == ["ok"] * 10_000
    assert [record["item"] for record in bench.records()] == list(range(10_000))
    assert bench.log.writes == 1


def test_ids_that_are_none_are_replaced_or_ignored(bench: Bench, images: Images) -> None:
    answer = bench.ask(
        png(images[0]), request_id="no id\n", session_id="x" * 129, correlation_id="ü"
    )
    assert len(answer["request_id"]) == 32
    (record,) = bench.records()
    assert record["request_id"] == answer["request_id"]
    assert record["correlation_id"] is None
    assert "session_id" not in record


def test_a_json_body_may_carry_ids_but_headers_win(bench: Bench, images: Images) -> None:
    body = instances(images[0], request_id="body", session_id="body", correlation_id=5)
    assert bench.ask(body, request_id="header")["request_id"] == "header"
    assert bench.ask(body, session_id="not valid!")["request_id"] == "body"
    first, second = bench.records()
    assert first["session_id"] == second["session_id"] == "body"
    assert first["correlation_id"] is None


def test_errors_never_show_how_the_code_looks(
    bench: Bench, images: Images, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(images: Any) -> None:
        raise RuntimeError("weights at /secret/path")

    monkeypatch.setattr(bench.model, "screen", explode)
    response = bench.send(images.tobytes(), RAW)
    assert statuses(read(response)) == [ItemStatus.ERROR] * 4
    assert b"secret" not in response.body
    assert b"RuntimeError" not in response.body
    assert "weights at /secret/path" in caplog.text
    assert bench.send(png(images[0])).http_status == 500
    record = bench.records()[0]
    assert record["error"]["message"] == "the model failed on the batch of this item"
    assert record["screening"] is None
    assert record["input_data_summary"]["shape"] == [1, 8, 8]


def test_a_failing_pass_costs_only_its_own_items(
    make_bench: MakeBench, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(limits=LimitsConfig(max_forward_batch=2))
    real = bench.model.screen

    def sometimes(chunk: Any) -> Any:
        if (chunk[0] == images[0]).all():
            raise RuntimeError
        return real(chunk)

    monkeypatch.setattr(bench.model, "screen", sometimes)
    assert statuses(bench.ask(images.tobytes(), RAW)) == ["error", "error", "ok", "ok"]


def spy_on_screen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    real = bench.model.screen

    def screen(images: Any) -> Any:
        sizes.append(len(images))
        return real(images)

    monkeypatch.setattr(bench.model, "screen", screen)
    return sizes


def test_a_fault_in_a_summary_fails_its_items_and_is_logged(
    bench: Bench, images: Images, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: object) -> None:
        raise MemoryError("injected")

    monkeypatch.setattr("handlers.service.describe", break_down)
    answer = bench.ask(images.tobytes(), RAW)
    assert statuses(answer) == ["error"] * len(images)
    assert [record["status"] for record in bench.records()] == ["error"] * len(images)
    assert "injected" in caplog.text
    assert "injected" not in str(answer)


def test_a_fault_in_opening_refuses_its_request_alone_and_is_logged(
    bench: Bench, images: Images, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import handlers.call

    def break_down_on_one(body: bytes, *rest: Any) -> Any:
        if len(body) == images[0].size:
            raise RuntimeError("injected")
        return opened(body, *rest)

    opened = handlers.call.open_body
    monkeypatch.setattr("handlers.call.open_body", break_down_on_one)
    bodies = (images[:1].tobytes(), images[:2].tobytes())
    requests = [
        Request(body=body, protocol="rest", content_type=RAW, request_id=f"r{place}")
        for place, body in enumerate(bodies)
    ]
    broken, fine = bench.service.answer(requests)
    assert (broken.http_status, broken.request_id) == (500, "r0")
    assert read(broken)["error"]["status"] == "error"
    assert statuses(read(fine)) == ["ok", "ok"]
    logged = [(record["request_id"], record["status"]) for record in bench.records()]
    assert sorted(logged) == [("r0", "error"), ("r1", "ok"), ("r1", "ok")]
    assert "injected" in caplog.text
