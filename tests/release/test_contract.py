"""The contract: the real archive of a real model in a real TorchServe, asked over REST and gRPC.

Asked is TorchServe itself, unless a test says that the gateway is.
"""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from monitoring.log_reader import ReadReport, find, read_records
from release.asking import Door, back_door, front_door
from release.first_answer import PROBE_ID
from release.package import package
from release.server import start, status, stop
from release.status import ServerStatus
from release.tokens import current_token
from tests.release.conftest import settings
from tests.release.serving import assert_nothing_left, until
from torchkeep.artifact import ModelArtifact
from torchkeep.client import Client
from torchkeep.data import Splits
from torchkeep.errors import RequestError, ServerError
from torchkeep.paths import Home
from torchkeep.schema import HTTP_STATUS, ItemStatus

pytestmark = pytest.mark.torchserve

PROTOCOLS = ["rest", "grpc"]
WORKER_MEMORY_LIMIT = 1.5 * 2**30


@dataclass(frozen=True)
class Served:
    """A running server and what it is asked with."""

    home: Home
    running: ServerStatus
    images: NDArray[np.uint8]  # N C H W

    @property
    def log(self) -> Path:
        return Path(self.running.request_log)

    def client(self, protocol: str, door: Door | None = None) -> Client:
        door = door or back_door(self.home, self.running)
        return Client(getattr(door, protocol), model=self.running.model, token=door.token)

    def post(self, body: bytes, content_type: str = "", **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {current_token(self.home)}", **headers}
        sent["Content-Type"] = content_type or "application/octet-stream"
        url = f"{self.running.torchserve_rest}/predictions/{self.running.model}"
        return httpx.post(url, content=body, headers=sent, timeout=60)


@pytest.fixture(scope="module")
def served(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("contract")
    home = Home(folder / "home")
    archive = package(digits_artifact, folder / "store")
    running = start(home, archive, settings=settings(workers=1))
    yield Served(home, running, digits.test.images[:200])
    running = status(home)
    stop(home)
    assert_nothing_left(home, running)


def png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[0], mode=None).save(buffer, "PNG")
    return buffer.getvalue()


def npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def test_the_start_has_left_one_record_that_can_be_told_apart(served: Served) -> None:
    first = next(iter(read_records(served.log)))
    assert first["request_id"].startswith(PROBE_ID)
    assert first["status"] == "ok"


def test_a_worker_stays_within_its_memory(served: Served) -> None:
    assert all(size < WORKER_MEMORY_LIMIT for size in status(served.home).memory_bytes.workers)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_image_is_answered_and_logged(
    served: Served, digits_artifact: ModelArtifact, protocol: str
) -> None:
    request_id = f"one-{protocol}"
    with served.client(protocol) as client:
        answer = client.predict(served.images[0], request_id=request_id)
    (item,) = answer.items
    assert item.ok
    assert item.label in digits_artifact.manifest.classes
    assert item.probability == pytest.approx(item.probabilities.max())
    assert item.screening is not None
    (record,) = find(served.log, request_id)
    assert record["prediction"][0] == item.label
    assert record["screening"]["verdict"] == item.screening.verdict
    assert record["request_type"]["protocol"] == protocol
    assert record["artifact_digest"] == digits_artifact.digest
    assert record["model_version"] == answer.model_version == "1.0"
    assert record["worker"] in status(served.home).pids.workers


def test_rest_and_grpc_answer_alike(served: Served) -> None:
    answers = []
    for protocol in PROTOCOLS:
        with served.client(protocol) as client:
            answers.append(client.predict(served.images, request_id=f"alike-{protocol}"))
    rest, over_grpc = answers
    assert [item.label for item in rest.items] == [item.label for item in over_grpc.items]
    for one, other in zip(rest.items, over_grpc.items, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
        assert one.screening.verdict == other.screening.verdict
    for protocol in PROTOCOLS:
        records = find(served.log, f"alike-{protocol}")
        assert [record["item"] for record in records] == list(range(len(served.images)))
        assert {record["items"] for record in records} == {len(served.images)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_gateway_answers_as_torchserve_itself_does(served: Served, protocol: str) -> None:
    request_id = f"front-{protocol}"
    images = [png(image) for image in served.images[:40]] + [b"no image"]
    with served.client(protocol) as client:
        expected = client.predict(images).items
    with served.client(protocol, front_door(served.home, served.running)) as client:
        answer = client.predict(images, request_id=request_id)
    assert answer.request_id == request_id
    assert [item.label for item in answer.items] == [item.label for item in expected]
    assert [item.status for item in answer.items] == [item.status for item in expected]
    for one, other in zip(answer.items[:-1], expected[:-1], strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
        assert one.screening.verdict == other.screening.verdict
    records = find(served.log, request_id)
    assert [record["status"] for record in records] == [item.status for item in answer.items]
    assert [record["item"] for record in records] == list(range(len(images)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_explanation_has_the_shape_of_its_image(served: Served, protocol: str) -> None:
    with served.client(protocol) as client:
        (item,) = client.explain(served.images[0]).items
    assert item.ok
    assert item.attribution.values.shape == served.images[0].shape
    assert np.isfinite(item.attribution.values).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_bad_item_keeps_its_own_status_and_its_neighbours_their_answers(
    served: Served, protocol: str
) -> None:
    good = png(served.images[0])
    request_id = f"mixed-{protocol}"
    with served.client(protocol) as client:
        answer = client.predict(
            [good, good[: len(good) // 2], b"no image", good], request_id=request_id
        )
    statuses = [item.status for item in answer.items]
    assert statuses[0] == statuses[3] == ItemStatus.OK
    assert not {statuses[1], statuses[2]} & {ItemStatus.OK, ItemStatus.ERROR}
    assert [record["status"] for record in find(served.log, request_id)] == statuses


BAD_BODIES = {
    "not an image": (b"hello, world", "image/png"),
    "half an image": (png(np.zeros((1, 8, 8), np.uint8))[:40], "image/png"),
    "wrong shape": (npy(np.zeros((3, 9, 9), np.uint8)), ""),
    "NaN in a float tensor": (npy(np.full((1, 8, 8), np.nan, np.float32)), ""),
    "a pickle": (npy(np.zeros(3)).replace(b"'<f8'", b"'|O' "), ""),
    "an empty body": (b"", ""),
    "broken JSON": (b'{"instances": [', "application/json"),
    "no instances": (b'{"instances": []}', "application/json"),
    "too many items": (bytes(64 * 10_001), ""),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_input_is_refused_with_a_clear_line_and_the_worker_lives(
    served: Served, name: str
) -> None:
    body, content_type = BAD_BODIES[name]
    workers = status(served.home).pids.workers
    request_id = f"bad-{uuid.uuid4().hex}"
    refused = served.post(body, content_type, **{"X-Request-Id": request_id})
    assert 400 <= refused.status_code < 500, refused.text
    answer = refused.json()
    assert answer["request_id"] == request_id
    fault = answer["error"]["message"] if "error" in answer else answer["predictions"][0]["error"]
    assert fault
    assert "\n" not in fault
    assert "Traceback" not in refused.text
    (record,) = find(served.log, request_id)
    assert HTTP_STATUS[ItemStatus(record["status"])] == refused.status_code
    assert status(served.home).pids.workers == workers


def test_a_refusal_over_grpc_is_a_result_or_an_error_of_the_client(served: Served) -> None:
    with served.client("grpc") as client:
        (item,) = client.predict(b"\x89PNG\r\n\x1a\n broken").items
        assert item.status is ItemStatus.BAD_INPUT
        with pytest.raises(RequestError):
            client.predict(np.zeros((10_001, 1, 8, 8), np.uint8))


@dataclass
class Load:
    """Asks without a pause, and keeps the ids and sizes of what was answered."""

    served: Served
    protocol: str
    answered: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with self.served.client(self.protocol) as client:
            while not self.over.is_set():
                count = 1 + len(self.answered) % 16
                request_id = f"load-{self.protocol}-{uuid.uuid4().hex}"
                try:
                    answer = client.predict(
                        self.served.images[:count], request_id=request_id, timeout=10
                    )
                except (RequestError, ServerError):
                    self.unanswered += 1
                    time.sleep(0.02)
                else:
                    assert answer.request_id == request_id
                    self.answered[request_id] = len(answer.items)


def test_every_answered_item_is_logged_whole_though_workers_are_killed(served: Served) -> None:
    loads = [Load(served, protocol) for protocol in PROTOCOLS]
    threads = [threading.Thread(target=load.run) for load in loads]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            before = [len(load.answered) for load in loads]
            assert until(
                lambda before=before: all(
                    len(load.answered) >= count + 20
                    for load, count in zip(loads, before, strict=True)
                ),
                30,
            )
            (worker,) = status(served.home).pids.workers
            os.kill(worker, signal.SIGKILL)
            assert until(
                lambda worker=worker: bool(set(status(served.home).pids.workers) - {worker}), 20
            )
    finally:
        for load in loads:
            load.over.set()
        for thread in threads:
            thread.join()
    assert sum(load.unanswered for load in loads) > 0, "no kill was felt"

    report = ReadReport()
    logged: dict[str, list[int]] = {}
    for record in read_records(served.log, report=report):
        logged.setdefault(record["request_id"], []).append(record["item"])
    assert report.damaged == 0, report.examples
    for load in loads:
        for request_id, items in load.answered.items():
            assert logged.get(request_id) == list(range(items))
    for segment in served.log.iterdir():
        for line in segment.read_bytes().splitlines():
            assert json.loads(line)["kind"] in ("inference", "access")
