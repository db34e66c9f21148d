"""The skin over TorchServe, driven by TorchServe's own worker code over its own wire format."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from numpy.typing import NDArray

from handlers import torchserve
from tests.handlers.front_end import FrontEnd, FrontEndRequest, Reply, form, grpc, rest
from tests.handlers.samples import encoded, instances, npy, png
from torchkeep import keys
from torchkeep.artifact import ModelArtifact
from torchkeep.envelope import Origin, RequestEnvelope, decode_response, encode_request
from torchkeep.errors import ArtifactError, SettingsError
from torchkeep.paths import Home
from torchkeep.schema import Operation

RAW = "application/octet-stream"
Images = NDArray[np.uint8]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A worker's surroundings; what a worker changes in its process is changed back."""
    for name in [name for name in os.environ if name.startswith("TORCHKEEP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCHKEEP_REQUEST_LOG_SEGMENT_ATTRIBUTES", "country")
    monkeypatch.setenv("TS_DECODE_INPUT_REQUEST", "true")
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield Home.default()
    for service in torchserve._services.values():
        service._log.close()
    torchserve._services.clear()
    torch.set_num_threads(threads)
    gc.unfreeze()


@pytest.fixture
def front_end(home: Home, digits_artifact: ModelArtifact) -> FrontEnd:
    return FrontEnd(digits_artifact.path)


def read(reply: Reply) -> Any:
    return orjson.loads(reply.body)


def records(home: Home) -> list[dict[str, Any]]:
    lines = [
        line
        for segment in sorted(home.request_log.iterdir())
        for line in segment.read_bytes().splitlines()
    ]
    return [orjson.loads(line) for line in lines]


def test_rest_and_grpc_get_the_same_answer(front_end: FrontEnd, home: Home, images: Images) -> None:
    body = png(images[0])
    by_rest, by_grpc = front_end.send(
        rest(body, "image/png", headers={"X-Request-Id": "one"}),
        grpc(data=body, content_type=b"image/png", request_id=b"one"),
    )
    assert read(by_rest) == read(by_grpc)
    for reply in (by_rest, by_grpc):
        assert (reply.status, reply.phrase) == (200, "OK")
        assert reply.content_type == "application/json"
    first, second = records(home)
    assert first["request_type"]["protocol"] == "rest"
    assert second["request_type"]["protocol"] == "grpc"
    assert first["request_type"]["content_type"] == "image/png"
    assert second["request_type"]["content_type"] == "image/png"


@pytest.mark.parametrize("spelling", [str.lower, str.title, str.upper])
def test_headers_are_read_however_they_are_spelled(
    front_end: FrontEnd, home: Home, images: Images, spelling: Any
) -> None:
    sent = {
        "x-request-id": "r1",
        "x-correlation-id": "c1",
        "x-session-id": "s1",
        "x-segments": '{"country": "AT"}',
    }
    headers = {spelling(name): value for name, value in sent.items()}
    (reply,) = front_end.send(rest(images.tobytes(), RAW, headers=headers))
    assert read(reply)["request_id"] == "r1"
    record = records(home)[0]
    assert (record["request_id"], record["correlation_id"]) == ("r1", "c1")
    assert (record["session_id"], record["segments"]) == ("s1", {"country": "AT"})


def test_a_grpc_call_carries_the_same_in_its_inputs(
    front_end: FrontEnd, home: Home, images: Images
) -> None:
    front_end.send(
        grpc(
            data=images.tobytes(),
            content_type=RAW.encode(),
            request_id=b"r1",
            correlation_id=b"c1",
            session_id=b"s1",
            segments=b'{"country": "AT"}',
        )
    )
    record = records(home)[0]
    assert (record["request_id"], record["correlation_id"]) == ("r1", "c1")
    assert (record["session_id"], record["segments"]) == ("s1", {"country": "AT"})


def test_grpc_inputs_that_are_no_text_are_survived(front_end: FrontEnd, images: Images) -> None:
    noise = b"\xff\xfe\0\n"
    names = ("content_type", "request_id", "session_id", "segments", "operation", "other")
    inputs = dict.fromkeys(names, noise)
    (reply,) = front_end.send(grpc(data=png(images[0]), **inputs))
    assert reply.status == 200
    assert len(read(reply)["request_id"]) == 32


def test_explanations_are_asked_for_by_path_or_by_operation(
    front_end: FrontEnd, images: Images
) -> None:
    body = png(images[0])
    replies = front_end.send(
        rest(body, explain=True),
        grpc(data=body, operation=b"explain"),
        rest(body, headers={"EXPLAIN": "True"}),
        grpc(data=body, operation=b"predict"),
    )
    explained = ["attribution" in read(reply)["predictions"][0] for reply in replies]
    assert explained == [True, True, False, False]
    (by_path,), (by_operation,) = (read(reply)["predictions"] for reply in replies[:2])
    assert by_path == by_operation


def test_each_request_of_a_batch_has_its_own_status(front_end: FrontEnd, images: Images) -> None:
    replies = front_end.send(
        rest(png(images[0])),
        rest(b"hello"),
        rest(b""),
        rest(bytes(64 * 10_001), RAW),
        rest(npy(np.full((8, 8), np.nan))),
        rest(instances(images[0], [[1]]), "application/json"),
        grpc(data=b"hello"),
    )
    statuses = [200, 415, 400, 413, 400, 200, 415]
    assert [reply.status for reply in replies] == statuses
    assert [reply.phrase for reply in replies] == [HTTPStatus(code).phrase for code in statuses]
    assert read(replies[1]) | {"request_id": ""} == read(replies[6]) | {"request_id": ""}


def test_json_is_decoded_here_and_not_by_torchserve(front_end: FrontEnd, images: Images) -> None:
    assert os.environ["TS_DECODE_INPUT_REQUEST"] == "false"
    declared = rest(instances(images[0]), "application/json; charset=utf-8")
    assert front_end.send(declared)[0].status == 200
    broken = front_end.send(rest(b'{"instances": [NaN]}', "application/json"))[0]
    assert (broken.status, read(broken)["predictions"]) == (400, [])


def test_a_form_needs_a_part_called_data(front_end: FrontEnd, images: Images) -> None:
    found, missing, nothing = front_end.send(
        form(data=images.tobytes()), form(file=images.tobytes()), FrontEndRequest()
    )
    assert len(read(found)["predictions"]) == 4
    for reply in (missing, nothing):
        assert reply.status == 400
        assert "as the form part `data`" in read(reply)["error"]["message"]


def test_what_pillow_has_to_say_of_an_image_stays_out_of_the_log(
    front_end: FrontEnd, images: Images
) -> None:
    odd = encoded(images[0][0], "JPEG", exif=b"Exif\0\0MM\0*" + b"\1" * 50)
    assert front_end.send(rest(odd))[0].status == 200  # a warning is an error in tests


def test_a_signed_envelope_is_believed(home: Home, digits_artifact: ModelArtifact) -> None:
    key = keys.renew_key(keys.envelope_key_file(home))
    envelope = RequestEnvelope(
        operation=Operation.PREDICT,
        origins=[Origin(request_id="g1", items=1, client="c0ffee")],
        origin_index=np.zeros(1, dtype=np.uint32),
        item_index=np.zeros(1, dtype=np.uint32),
        payload=np.zeros((1, 1, 8, 8), dtype=np.uint8),
    )
    (reply,) = FrontEnd(digits_artifact.path).send(grpc(data=encode_request(envelope, key)))
    assert reply.content_type == "application/x-torchkeep-envelope"
    assert decode_response(reply.body, key).authentic
    (record,) = records(home)
    assert (record["client"], record["request_type"]["protocol"]) == ("c0ffee", "gateway")


def test_settings_of_the_environment_are_in_force(
    home: Home, digits_artifact: ModelArtifact, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHKEEP_LIMITS_MAX_ITEMS", "3")
    monkeypatch.setenv("TORCHKEEP_SCREENING_DISCLOSE", "none")
    front_end = FrontEnd(digits_artifact.path)
    many, one = front_end.send(rest(images.tobytes(), RAW), rest(png(images[0])))
    assert many.status == 413
    assert "screening" not in read(one)["predictions"][0]


def test_a_worker_that_starts_logs_nothing(front_end: FrontEnd, home: Home) -> None:
    assert records(home) == []


def test_a_worker_with_a_bad_setting_or_artifact_does_not_start(
    home: Home, tmp_path: Path, digits_artifact: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactError, match="artifact"):
        FrontEnd(tmp_path / "nothing")
    monkeypatch.setenv("TORCHKEEP_SCREENING_POLICY", "refuse")
    with pytest.raises(SettingsError, match="Choose from: observe, flag, reject"):
        FrontEnd(digits_artifact.path)


def test_a_worker_serves_in_the_layout_that_is_set(
    home: Home, digits_artifact: ModelArtifact, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHKEEP_SERVING_CHANNELS_LAST", "true")
    front_end = FrontEnd(digits_artifact.path)
    (reply,) = front_end.send(rest(images.tobytes(), RAW))
    assert [item["status"] for item in read(reply)["predictions"]] == ["ok"] * 4
    (service,) = torchserve._services.values()
    weights = [p for p in service._model.classifier.parameters() if p.ndim == 4 and p.shape[1] > 1]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        (
            "DTYPE",
            "bfloat16",
            r"calibrated in float32, not bfloat16.*fit-detectors --dtype bfloat16",
        ),
        ("COMPILE", "cuda_graphs", "cuda_graphs, and the model is on the cpu"),
    ],
)
def test_a_worker_does_not_serve_what_does_not_fit_the_artifact(
    home: Home,
    digits_artifact: ModelArtifact,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    fault: str,
) -> None:
    monkeypatch.setenv(f"TORCHKEEP_SERVING_{name}", value)
    with pytest.raises((ArtifactError, SettingsError), match=fault):
        FrontEnd(digits_artifact.path)


def test_a_traceparent_reaches_the_record(front_end: FrontEnd, home: Home, images: Images) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    header = f"00-{trace}-00f067aa0ba902b7-01"
    front_end.send(
        rest(png(images[0]), headers={"Traceparent": header}),
        grpc(data=png(images[0]), traceparent=header.encode()),
        rest(png(images[0])),
    )
    assert [record.get("trace_id") for record in records(home)] == [trace, trace, None]
