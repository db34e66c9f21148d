"""Thousands of bad inputs to a real server: a refusal with a message each, and nothing else.

`FUZZ_INPUTS` in the environment says how many the long test sends.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import psutil
import pytest
from hypothesis import HealthCheck, given, settings

from monitoring.log_reader import Kind, ReadReport, read_records
from tests.gateway.fuzz.material import bombs
from tests.gateway.fuzz.over_grpc import frame, frames, opening, over_grpc
from tests.gateway.fuzz.over_http import INFER, Bytes, over_http
from tests.gateway.fuzz.wire import Reply, Rest, Rpc, error_of, request, swallowed
from tests.gateway.grpc_front.test_fuzz import REQUESTS
from tests.gateway.http_front.test_fuzz import document
from tests.gateway.served import Images, Served, forward, serving
from tests.release.serving import until
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits

pytestmark = pytest.mark.torchserve

QUICK = 5_000
LONG = int(os.environ.get("FUZZ_INPUTS", "100000"))
MOST_BY_HYPOTHESIS = 2_000  # it is slow
MIB = 1024 * 1024
GATEWAY_MAY_GROW = 128 * MIB
WORKER_MAY_GROW = 256 * MIB
LONGEST_MESSAGE = 1_100
FAULTS = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "ABORTED"}
METHOD = "inference.GRPCInferenceService/ModelInfer"
IMPATIENT = {
    "TORCHKEEP_GATEWAY_BODY_TIMEOUT_S": "1",
    "TORCHKEEP_GATEWAY_HEADER_TIMEOUT_S": "1",
    "TORCHKEEP_GATEWAY_STRANGER_RECORDS_PER_S": "100000",  # every input leaves its record
}


@pytest.fixture(scope="module")
def served(
    digits_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with serving(digits_artifact, tmp_path_factory.mktemp("fuzz"), IMPATIENT) as running:
        yield running


@dataclass
class Campaign:
    """What was sent so far and what came back."""

    served: Served
    rest: Rest
    rpc: Rpc
    statuses: Counter[str] = field(default_factory=Counter)
    recorded: Counter[str] = field(default_factory=Counter)  # how many records there must be

    def send_bytes(self, sent: Bytes) -> None:
        """Send over HTTP, and judge the answer."""
        if sent.alone:
            for reply in self.rest.all_replies(sent.data):
                self._judge(reply, sent)
            return
        reply = self.rest.ask(sent.data, only_head=sent.only_head)
        if not sent.only_head:
            self._judge(reply, sent)
        self.recorded["rest"] += not _is_health(sent.data)

    def _judge(self, reply: Reply, sent: Bytes) -> None:
        self.statuses[str(reply.status)] += 1
        late = reply.status == 504 and b"timeout" in sent.data
        assert reply.status < 500 or reply.status == 501 or late, (reply, sent.data[:4000])
        if reply.status >= 400:
            message = error_of(reply)
            assert message, sent
            assert "\n" not in message
            assert len(message) < LONGEST_MESSAGE

    def send_message(self, method: str, body: bytes, metadata: dict[str, str]) -> None:
        """Send over gRPC, and judge the answer."""
        told = self.rpc.ask(method, body, metadata)
        self.recorded["grpc"] += 1
        if isinstance(told, bytes):
            self.statuses["OK"] += 1
            return
        name = told.code().name
        self.statuses[name] += 1
        assert name not in FAULTS, (told, method, body[:4000], metadata)
        assert name != "DEADLINE_EXCEEDED" or b"timeout" in body
        assert told.details(), (told, method, body[:4000])
        assert "\n" not in told.details()


def _is_health(data: bytes) -> bool:
    path = data.split(b" ", 2)[1].partition(b"?")[0]
    is_asking = data.startswith((b"GET", b"HEAD"))
    return is_asking and path in (b"/v2/health/live", b"/v2/health/ready", b"/ping")


@pytest.fixture
def campaign(served: Served) -> Iterator[Campaign]:
    """A campaign at whose end the same processes run, no larger, and every input has its record."""
    served.until_healthy()
    before = served.now
    count = Counter(record["protocol"] for record in _records(served))
    with Rest(served.rest_port) as rest, Rpc(served.grpc_target, served.key) as rpc:
        made = Campaign(served, rest, rpc)
        for seed in range(-300, 0):  # what is loaded on first use
            made.send_bytes(over_http(seed, served.key))
            made.send_message(*_parts(seed))
        sizes = _sizes(served)
        yield made
        grown = [after - size for after, size in zip(_sizes(served), sizes, strict=True)]
    print(f"the gateway and the worker grew by {grown} bytes")  # noqa: T201 - shown with -s
    assert served.now.pids == before.pids
    assert served.now.restarts == before.restarts
    assert grown[0] < GATEWAY_MAY_GROW, grown
    assert grown[1] < WORKER_MAY_GROW, grown
    assert until(lambda: _new_records(served, count)["grpc"] >= made.recorded["grpc"], 10)
    new = _new_records(served, count)
    assert new["grpc"] == made.recorded["grpc"]
    assert new["rest"] >= made.recorded["rest"]


def _records(served: Served) -> list[dict[str, Any]]:
    report = ReadReport()
    records = list(read_records(served.log, kind=Kind.ACCESS, report=report))
    assert report.damaged == 0, report.examples
    return records


def _new_records(served: Served, before: Counter[str]) -> Counter[str]:
    return Counter(record["protocol"] for record in _records(served)) - before


def _sizes(served: Served) -> list[int]:
    """Return the memory of the gateway and of the worker, in bytes."""
    pids = served.now.pids
    return [psutil.Process(pid).memory_info().rss for pid in (pids.gateway, pids.workers[0])]


def _parts(seed: int) -> tuple[str, bytes, dict[str, str]]:
    message = over_grpc(seed)
    return message.method, message.body, message.metadata


def fuzz(campaign: Campaign, inputs: int) -> None:
    """Send so many inputs; hypothesis finds the first ones, and makes a failure small."""
    key = campaign.served.key
    each = min(inputs // 10, MOST_BY_HYPOTHESIS)
    found_by_hypothesis = settings(
        deadline=None,
        max_examples=each,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    @found_by_hypothesis
    @given(document)
    def documents(described: Any) -> None:
        body = json.dumps(described).encode("utf-8", "surrogatepass")
        headers = {"authorization": f"Bearer {key}"}
        campaign.send_bytes(Bytes(request("POST", INFER, headers, body)))

    @found_by_hypothesis
    @given(REQUESTS)
    def messages(message: Any) -> None:
        campaign.send_message(METHOD, message.SerializeToString(), {})

    documents()
    messages()
    for seed in range(inputs // 2 - each):
        try:
            campaign.send_bytes(over_http(seed, key))
            campaign.send_message(*_parts(seed))
        except BaseException as error:
            error.add_note(f"the input of seed {seed}")
            raise
    print(dict(campaign.statuses))  # noqa: T201 - shown with -s
    assert sum(campaign.statuses.values()) > 0.8 * inputs


def assert_still_right(served: Served, images: Images) -> None:
    """Hold an ordinary answer against the model itself."""
    body = orjson.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "UINT8",
                    "shape": list(images.shape),
                    "data": images.ravel().tolist(),
                }
            ]
        }
    )
    headers = {"authorization": f"Bearer {served.key}"}
    with Rest(served.rest_port) as rest:
        reply = rest.ask(request("POST", INFER, headers, body))
    assert reply.status == 200, reply
    outputs = {tensor["name"]: tensor for tensor in orjson.loads(reply.body)["outputs"]}
    probabilities = np.array(outputs["probabilities"]["data"]).reshape(len(images), -1)
    np.testing.assert_allclose(probabilities, forward(served.artifact, images), atol=1e-5)


@pytest.mark.timeout(300)
def test_thousands_of_bad_inputs_are_refused_one_by_one(campaign: Campaign, digits: Splits) -> None:
    fuzz(campaign, QUICK)
    assert_still_right(campaign.served, digits.test.images[:8])


def test_what_was_refused_is_let_go_of(served: Served) -> None:
    """A body of 64 MiB and more each time: one that stays until some later moment is too much."""
    before = _sizes(served)[0]
    coding, bomb = bombs()[0]
    headers = {"authorization": f"Bearer {served.key}"}
    with Rest(served.rest_port) as rest, Rpc(served.grpc_target, served.key) as rpc:
        for _ in range(10):
            packed = request("POST", INFER, headers | {"content-encoding": coding}, bomb)
            assert rest.ask(packed).status == 413
            assert rest.ask(request("POST", INFER, headers, bytes(40 * MIB))).status == 413
        for _ in range(40):
            assert not isinstance(rpc.ask(METHOD, bytes(8 * MIB)), bytes)
    assert _sizes(served)[0] - before < GATEWAY_MAY_GROW


def test_bytes_that_may_be_no_http_2_are_survived(served: Served, digits: Splits) -> None:
    """Some of them end the library's server, which is started again at once."""
    served.until_healthy()
    before, size = served.now, _sizes(served)[0]
    answered = 0
    for seed in range(500):
        answers: list[bytes] = []
        assert until(lambda: _is_let_in(served, frames(seed, served.key), answers), 5)  # noqa: B023
        answered += b"grpc-status" in answers[0]
    assert 0 < answered < 500
    assert until(lambda: _is_live(served), 5)
    assert served.now.pids == before.pids
    assert _sizes(served)[0] - size < GATEWAY_MAY_GROW
    assert_still_right(served, digits.test.images[:8])


def test_a_path_that_is_no_text_costs_others_a_moment_at_most(served: Served) -> None:
    assert until(lambda: _is_live(served), 5)
    path = b"/inference.GRPCInferenceService/\xfc"
    swallowed(served.grpc_port, opening(path, served.key) + frame(0, 1, 1, bytes(5)))
    assert until(lambda: _is_live(served), 2)


def _is_let_in(served: Served, data: bytes, answers: list[bytes]) -> bool:
    """Send bytes and keep the answer; False if nobody listens at this moment."""
    try:
        answers.append(swallowed(served.grpc_port, data))
    except ConnectionRefusedError:
        return False
    return True


def _is_live(served: Served) -> bool:
    with Rpc(served.grpc_target, served.key) as rpc:
        return isinstance(rpc.ask("inference.GRPCInferenceService/ServerLive", b""), bytes)


@pytest.mark.long
@pytest.mark.timeout(7_200)
def test_many_more_bad_inputs_are_refused_one_by_one(campaign: Campaign, digits: Splits) -> None:
    fuzz(campaign, LONG)
    assert_still_right(campaign.served, digits.test.images[:8])
