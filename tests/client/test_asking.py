"""A client asks and gets typed results, the same over REST and gRPC."""

from __future__ import annotations

import io
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from tests.client.protocol_servers import SHAPE, TOKEN, Servers
from torchkeep.client import Client, Input, PredictResult
from torchkeep.schema import ItemStatus, Verdict


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, size=(28, 28), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def as_json(result: object) -> Any:
    return json.loads(orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY))


INPUTS: dict[str, Input] = {
    "one image": png(1),
    "raw pixels": bytes(range(200)),
    "an array": np.arange(784, dtype=np.uint8).reshape(1, 28, 28),
    "a batch": np.linspace(0, 1, 3 * 784, dtype=np.float32).reshape(3, 1, 28, 28),
    "several images": [png(1), b"broken", b"screened", png(2)],
    "one item screened out": b"screened",
    "one item broken": b"broken",
}


@pytest.mark.parametrize("value", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("method", ["predict", "explain"])
def test_rest_and_grpc_answer_alike(servers: Servers, method: str, value: Input) -> None:
    results = []
    for url in (servers.rest, servers.grpc):
        with Client(url, token=TOKEN) as client:
            results.append(as_json(getattr(client, method)(value, request_id="same")))
    assert results[0] == results[1]
    assert servers.model.asked[0] == servers.model.asked[1]


def test_an_image_is_predicted(client: Client, servers: Servers) -> None:
    result = client.predict(png(1), request_id="r-1")
    (item,) = result.items
    assert (result.request_id, result.model, result.model_version) == ("r-1", "mnist", "1.0")
    assert item.ok
    assert item.probabilities is not None
    assert item.label == f"class {item.probabilities.argmax()}"
    assert item.probability == item.probabilities[item.class_index]
    assert item.screening is not None
    assert item.screening.verdict is Verdict.CLEAN
    assert item.error is None
    assert servers.model.asked[0].data == png(1)
    assert servers.model.asked[0].content_type == "image/png"


def test_results_cannot_be_changed(client: Client) -> None:
    item = client.explain(png(1)).items[0]
    assert item.probabilities is not None
    assert item.attribution is not None
    for array in (item.probabilities, item.attribution.values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        item.label = "another"  # type: ignore[misc]


def test_a_file_is_sent_as_it_is(client: Client, servers: Servers, tmp_path: Path) -> None:
    file = tmp_path / "digit.png"
    file.write_bytes(png(3))
    client.predict(file)
    client.predict([file, file])
    assert servers.model.asked[0].data == png(3)
    assert len(json.loads(servers.model.asked[1].data)["instances"]) == 2


def test_pixels_arrive_as_they_are(client: Client, servers: Servers) -> None:
    sent = np.linspace(0, 1, 6, dtype=np.float32).reshape(1, 1, 2, 3).transpose(0, 1, 3, 2)
    client.predict(sent)
    file = io.BytesIO(servers.model.asked[0].data)
    arrived = np.lib.format.read_array(file, allow_pickle=False)
    assert arrived.dtype == np.float32
    np.testing.assert_array_equal(arrived, sent)


def test_one_item_that_is_screened_out_is_a_result(client: Client) -> None:
    (item,) = client.predict(b"screened").items
    assert item.status is ItemStatus.REJECTED
    assert not item.ok
    assert (item.label, item.probabilities, item.error) == (None, None, "screened out")
    assert item.screening is not None
    assert (item.screening.verdict, item.screening.score) == (Verdict.SUSPICIOUS, 7.5)
    assert (item.screening.p_value, item.screening.threshold) == (0.001, 4.0)


def test_each_item_has_its_own_status(client: Client) -> None:
    items = client.predict([png(1), b"broken", b"screened", png(2)]).items
    assert [item.status for item in items] == ["ok", "bad_input", "rejected", "ok"]
    assert [item.item for item in items] == [0, 1, 2, 3]


def test_an_explanation_has_the_shape_of_the_input(client: Client, servers: Servers) -> None:
    first, second = client.explain([png(1), b"broken"]).items
    assert first.attribution is not None
    assert first.attribution.method == "saliency"
    assert first.attribution.values.shape == SHAPE
    assert first.attribution.values.dtype == np.float32
    assert (second.status, second.attribution) == (ItemStatus.BAD_INPUT, None)
    assert servers.model.asked[0].operation == "explain"


def test_ids_and_segments_go_with_the_question(client: Client, servers: Servers) -> None:
    client.predict(
        png(1),
        request_id="r-2",
        correlation_id="c:1",
        session_id="s.1",
        segments={"region": "Malmö", "plan": "family"},
    )
    tags = dict(servers.model.asked[0].tags)
    assert json.loads(tags.pop("segments")) == {"region": "Malmö", "plan": "family"}
    assert tags == {"request_id": "r-2", "correlation_id": "c:1", "session_id": "s.1"}


def test_a_request_without_id_gets_a_fresh_one(client: Client) -> None:
    first, second = (client.predict(png(1)).request_id for _ in range(2))
    assert first != second
    assert uuid.UUID(hex=first).version == 4


def test_a_tag_nobody_knows_is_an_error(client: Client) -> None:
    with pytest.raises(TypeError, match="requestid"):
        client.predict(png(1), requestid="r-1")  # type: ignore[call-arg]


def test_a_version_can_be_asked_for(url: str, servers: Servers) -> None:
    with Client(url, model="digits", version="2.1", token=TOKEN) as client:
        assert client.predict(png(1)).model_version == "2.1"
    assert (servers.model.asked[0].model, servers.model.asked[0].version) == ("digits", "2.1")


def test_a_path_before_the_api_is_kept(servers: Servers) -> None:
    with Client(f"{servers.rest}/prefix/", token=TOKEN) as client:
        assert client.predict(png(1)).items[0].ok


def test_a_token_function_is_called_for_each_request(url: str) -> None:
    tokens = iter([TOKEN, f"{TOKEN}\n"])
    with Client(url, token=lambda: next(tokens)) as client:
        assert client.health().healthy
        assert client.predict(png(1)).items[0].ok


@pytest.mark.parametrize(("said", "healthy"), [("Healthy", True), ("Unhealthy", False)])
def test_health_is_what_the_server_says(
    client: Client, servers: Servers, said: str, healthy: bool
) -> None:
    servers.model.health = said
    health = client.health()
    assert (health.healthy, health.status) == (healthy, said)


def test_threads_may_share_a_client(client: Client) -> None:
    def ask(seed: int) -> PredictResult:
        return client.predict(png(seed), request_id=f"seed-{seed}")

    with ThreadPoolExecutor(max_workers=8) as pool:
        together = list(pool.map(ask, range(24)))
    assert as_json(together) == as_json([ask(seed) for seed in range(24)])
