"""REST before the real data plane and the real handler: what is answered is what the model says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from gateway.config import GatewayConfig
from gateway.http_front.server import HttpFront
from gateway.openinference.tensors import pack_bytes
from tests.gateway.http_front.serving import Keys, Site, request
from tests.gateway.plane.house import House, house, run
from tests.handlers.conftest import Bench
from tests.handlers.samples import instances, npy, png

Images = NDArray[np.uint8]

INFER = "/v2/models/digits/infer"
LENGTH = "inference-header-content-length"


@asynccontextmanager
async def rest(bench: Bench, folder: Path) -> AsyncIterator[tuple[Site, House]]:
    async with house(bench, folder) as it:
        front = HttpFront(it.plane, cast(Any, Keys()), GatewayConfig(http_port=0))
        opened = Site(cast(Any, it.plane), front, await front.start())
        try:
            yield opened, it
        finally:
            await opened.close()


def with_raw(datatype: str, shape: list[int], raw: bytes) -> tuple[bytes, dict[str, str]]:
    described = {
        "name": "image",
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": len(raw)},
    }
    head = orjson.dumps({"inputs": [described]})
    return head + raw, {LENGTH: str(len(head))}


def outputs_of(answer: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {output["name"]: output["data"] for output in answer["outputs"]}


def test_every_datatype_is_answered_as_the_handler_answers(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    floats = images.astype("<f4") / 255
    files = pack_bytes([png(image) for image in images])
    forms = [
        ("UINT8", [4, 1, 8, 8], images.tobytes(), 1e-6),
        ("FP32", [4, 1, 8, 8], floats.tobytes(), 1e-6),
        ("FP16", [4, 1, 8, 8], floats.astype("<f2").tobytes(), 1e-2),
        ("BF16", [4, 1, 8, 8], (floats.view("<u4") >> 16).astype("<u2").tobytes(), 5e-2),
        ("BYTES", [4], files, 1e-6),
    ]

    async def scene() -> None:
        plain = bench.ask(images.tobytes(), "application/octet-stream")["predictions"]
        async with rest(bench, tmp_path) as (opened, it):
            for datatype, shape, raw, close in forms:
                body, headers = with_raw(datatype, shape, raw)
                reply = await opened.ask("POST", INFER, body, headers)
                assert reply.status == 200
                outputs = outputs_of(reply.json)
                assert outputs["label"] == [item["label"] for item in plain]
                assert outputs["verdict"] == [item["screening"]["verdict"] for item in plain]
                told = np.reshape(outputs["probabilities"], (4, 10))
                expected = [item["probabilities"] for item in plain]
                np.testing.assert_allclose(told, expected, atol=close)
            assert [code for _, code in it.answers()] == ["OK"] * len(forms)

    run(scene())


def test_predictions_are_the_handlers_own_to_the_byte(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    bodies = [
        (png(images[0]), "image/png"),
        (images.tobytes(), "application/octet-stream"),
        (npy(images), "application/x-npy"),
        (npy(images[0]), ""),
        (instances(*images.tolist()), "application/json"),
        (b"\x89PNG\r\n\x1a\n broken", "image/png"),
        (images.tobytes()[:-1], "application/octet-stream"),
        (b'{"instances": 3}', "application/json"),
    ]

    async def scene() -> None:
        async with rest(bench, tmp_path) as (opened, it):
            for number, (body, kind) in enumerate(bodies):
                headers = {"content-type": kind, "x-request-id": f"r-{number}"}
                reply = await opened.ask("POST", "/predictions/digits", body, headers)
                plain = bench.send(body, kind, request_id=f"r-{number}")
                assert reply.status == plain.http_status
                expected = orjson.loads(plain.body)
                if "error" in expected:  # of the whole request: here it is one failed item
                    assert reply.json["predictions"][0]["error"] == expected["error"]["message"]
                else:
                    assert reply.json == expected
            assert len(it.answers()) == len(bodies)

    run(scene())


def test_explanations_are_given_for_each_item(bench: Bench, images: Images, tmp_path: Path) -> None:
    body, headers = with_raw("UINT8", [2, 1, 8, 8], images[:2].tobytes())

    async def scene() -> None:
        async with rest(bench, tmp_path) as (opened, _):
            reply = await opened.ask("POST", "/v2/models/digits/explain", body, headers)
            outputs = {output["name"]: output for output in reply.json["outputs"]}
            assert outputs["attribution"]["shape"] == [2, 1, 8, 8]
            assert np.any(outputs["attribution"]["data"])
            assert reply.json["parameters"]["attribution_method"]

    run(scene())


def test_one_bad_image_costs_its_neighbours_nothing(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    floats = images.astype("<f4") / 255
    floats[1, 0, 3, 3] = np.nan
    body, headers = with_raw("FP32", [4, 1, 8, 8], floats.tobytes())

    async def scene() -> None:
        async with rest(bench, tmp_path) as (opened, _):
            reply = await opened.ask("POST", INFER, body, headers)
            assert reply.status == 200
            outputs = outputs_of(reply.json)
            assert outputs["item_status"] == ["ok", "bad_input", "ok", "ok"]
            assert outputs["class_index"][1] == -1
            assert outputs["probability"][1] is None
            assert "NaN" in outputs["message"][1]
            assert reply.json["parameters"]["items_failed"] == 1
            alone, told = with_raw("FP32", [1, 1, 8, 8], floats[1].tobytes())
            single = await opened.ask("POST", INFER, alone, told)
            assert single.status == 400
            assert "NaN" in single.error

    run(scene())


def test_a_caller_that_leaves_is_recorded_as_gone(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    body, headers = with_raw("UINT8", [1, 1, 8, 8], images[:1].tobytes())

    async def scene() -> None:
        async with rest(bench, tmp_path) as (opened, it):
            it.server.gate.clear()
            connection = await opened.connect()
            await connection.send(request("POST", INFER, body, headers | {"x-request-id": "gone"}))
            await it.until(lambda: it.plane.calls == 1)
            connection.close()
            await it.until(lambda: it.answers() == [("gone", "CANCELLED")])

    run(scene())


def test_many_callers_each_get_their_own_answer(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def ask(opened: Site, number: int) -> tuple[str, str]:
        body, headers = with_raw("UINT8", [1, 1, 8, 8], images[number % 4].tobytes())
        reply = await opened.ask("POST", INFER, body, headers | {"x-request-id": f"r-{number}"})
        assert reply.headers["x-request-id"] == f"r-{number}"
        return f"r-{number}", outputs_of(reply.json)["label"][0]

    async def scene() -> None:
        plain = bench.ask(images.tobytes(), "application/octet-stream")["predictions"]
        async with rest(bench, tmp_path) as (opened, it):
            found = await asyncio.gather(*(ask(opened, number) for number in range(100)))
            assert found == [(f"r-{i}", plain[i % 4]["label"]) for i in range(100)]
            assert sorted(it.answers()) == sorted((name, "OK") for name, _ in found)
            assert max(it.server.calls) > 1

    run(scene())
