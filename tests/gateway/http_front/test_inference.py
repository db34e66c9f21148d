"""Inference over REST: every form of a request, every form of an answer."""

from __future__ import annotations

import base64
import gc
import gzip
import struct
import time
import zlib
from typing import Any

import numpy as np
import orjson
import pytest

from gateway.openinference.tensors import pack_bytes
from gateway.outcome import Outcome
from gateway.question import Question
from gateway.refusal import Code, Refusal
from tests.gateway.http_front.asking import INFER, JSON_LENGTH, PIXELS, asked, failed, image_of
from tests.gateway.http_front.serving import GOOD, Plane, infer_body, run, site
from torchkeep.schema import Operation


def tensor(**changes: Any) -> dict[str, Any]:
    fields = {"name": "image", "datatype": "UINT8", "shape": [2, 2, 3, 4]}
    return {**fields, **changes}


def binary_body(raw: bytes, **changes: Any) -> tuple[bytes, dict[str, str]]:
    described = tensor(parameters={"binary_data_size": len(raw)}, **changes)
    head = orjson.dumps({"inputs": [described]})
    return head + raw, {JSON_LENGTH: str(len(head))}


@pytest.mark.parametrize("data", [PIXELS.tolist(), PIXELS.reshape(-1).tolist()])
def test_json_tensors_nested_and_flat(data: list[Any]) -> None:
    reply, plane = asked(orjson.dumps({"inputs": [tensor(data=data)]}))
    np.testing.assert_array_equal(image_of(plane), PIXELS)
    answer = reply.json
    assert (answer["model_name"], answer["model_version"]) == ("digits", "1.0")
    outputs = {output["name"]: output for output in answer["outputs"]}
    assert outputs["label"]["data"] == ["one", "one"]
    assert outputs["probabilities"]["shape"] == [2, 3]
    assert outputs["probabilities"]["data"] == [0.125, 0.75, 0.125] * 2
    assert answer["parameters"]["items_failed"] == 0
    assert answer["id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize(
    ("datatype", "raw", "expected"),
    [
        ("UINT8", PIXELS.tobytes(), PIXELS),
        ("FP32", PIXELS.astype("<f4").tobytes(), PIXELS.astype(np.float32)),
        ("FP16", PIXELS.astype("<f2").tobytes(), PIXELS.astype(np.float32)),
        (
            "BF16",
            (PIXELS.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes(),
            PIXELS.astype(np.float32),
        ),
    ],
)
def test_binary_tensors(datatype: str, raw: bytes, expected: Any) -> None:
    body, headers = binary_body(raw, datatype=datatype)
    reply, plane = asked(body, headers)
    assert reply.status == 200
    assert image_of(plane).dtype == expected.dtype
    np.testing.assert_array_equal(image_of(plane), expected)


def test_files_as_binary_data_and_as_base64() -> None:
    files = [b"\x89PNG one", b"two"]
    body, headers = binary_body(pack_bytes(files), datatype="BYTES", shape=[2])
    assert [bytes(blob) for blob in image_of(asked(body, headers)[1])] == files
    text = [base64.b64encode(blob).decode() for blob in files]
    for shape, data in (([2], text), ([2, 1], [[element] for element in text])):
        described = tensor(
            datatype="BYTES", shape=shape, data=data, parameters={"content_type": "base64"}
        )
        _, plane = asked(orjson.dumps({"inputs": [described]}))
        assert image_of(plane) == files


def test_binary_outputs_stand_behind_the_json() -> None:
    reply, _ = asked(infer_body(2, parameters={"binary_data_output": True}))
    assert reply.headers["content-type"] == "application/octet-stream"
    length = int(reply.headers[JSON_LENGTH])
    document, rest = orjson.loads(reply.body[:length]), reply.body[length:]
    raw = {}
    for output in document["outputs"]:
        size = output["parameters"]["binary_data_size"]
        raw[output["name"]], rest = rest[:size], rest[size:]
        assert "data" not in output
    assert rest == b""
    assert raw["label"] == b"\x03\x00\x00\x00one" * 2
    assert struct.unpack("<2i", raw["class_index"]) == (1, 1)
    assert struct.unpack("<6f", raw["probabilities"]) == (0.125, 0.75, 0.125) * 2


def test_outputs_are_chosen_one_by_one() -> None:
    outputs = [{"name": "probability", "parameters": {"binary_data": True}}, {"name": "label"}]
    reply, _ = asked(infer_body(outputs=outputs))
    length = int(reply.headers[JSON_LENGTH])
    first, second = orjson.loads(reply.body[:length])["outputs"]
    assert (first["name"], second["data"]) == ("probability", ["one"])
    assert reply.body[length:] == struct.pack("<f", 0.75)


def test_an_explanation_holds_attributions() -> None:
    reply, plane = asked(infer_body(2), path="/v2/models/digits/versions/2.0/explain")
    outputs = {output["name"]: output for output in reply.json["outputs"]}
    assert outputs["attribution"]["shape"] == [2, 2, 3, 4]
    assert outputs["attribution"]["data"] == [0.0] * 24 + [1.0] * 24
    assert reply.json["parameters"]["attribution_method"] == "integrated_gradients"
    assert plane.questions[0].operation is Operation.EXPLAIN
    assert plane.questions[0].version == "2.0"


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("identity", bytes),
    ],
)
def test_compressed_bodies(encoding: str, compress: Any) -> None:
    body, headers = binary_body(PIXELS.tobytes())
    reply, plane = asked(compress(body), {**headers, "content-encoding": encoding})
    assert reply.status == 200
    np.testing.assert_array_equal(image_of(plane), PIXELS)


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("gzip;q=0", False), ("br", False)],
)
def test_a_long_json_answer_is_compressed_if_asked(accepted: str, is_compressed: bool) -> None:
    reply, _ = asked(infer_body(50), {"accept-encoding": accepted})
    assert ("content-encoding" in reply.headers) == is_compressed
    body = gzip.decompress(reply.body) if is_compressed else reply.body
    assert orjson.loads(body)["model_name"] == "digits"


def test_short_and_binary_answers_are_not_compressed() -> None:
    headers = {"accept-encoding": "gzip"}
    reply, _ = asked(infer_body(outputs=[{"name": "label"}]), headers)
    assert "content-encoding" not in reply.headers
    reply, _ = asked(infer_body(50, parameters={"binary_data_output": True}), headers)
    assert "content-encoding" not in reply.headers


def test_ids_are_kept_end_to_end() -> None:
    headers = {
        "x-request-id": "from-the-header",
        "x-correlation-id": "c-1",
        "x-session-id": "s-1",
        "x-segments": '{"plan": "pro"}',
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    }
    reply, plane = asked(infer_body(id="from-the-body"), headers)
    assert reply.headers["x-request-id"] == "from-the-header"
    assert reply.json["id"] == "from-the-body"
    assert reply.json["parameters"]["request_id"] == "from-the-header"
    question = plane.questions[0]
    assert question.arrival.correlation_id == "c-1"
    assert question.arrival.traceparent == headers["traceparent"]
    assert question.session_id == "s-1"
    assert question.segments == {"plan": "pro"}


def test_the_id_of_the_body_is_the_request_id_if_no_header_names_one() -> None:
    reply, _ = asked(infer_body(id="from-the-body"))
    assert reply.headers["x-request-id"] == "from-the-body"
    reply, _ = asked(infer_body(id="is no id"))
    assert reply.json["id"] == "is no id"
    assert len(reply.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("parameters", "headers", "seconds"),
    [
        ({}, {}, 30),
        ({"timeout": 2_500_000}, {}, 2.5),
        ({"timeout": 0}, {}, 30),
        ({}, {"x-request-timeout-ms": "1500"}, 1.5),
        ({"timeout": 9_000_000}, {"x-request-timeout-ms": "1500"}, 1.5),
        ({"timeout": 2**62}, {"x-request-timeout-ms": "999999999999"}, 30),
    ],
)
def test_the_shortest_timeout_is_the_deadline(
    parameters: dict[str, Any], headers: dict[str, str], seconds: float
) -> None:
    before = time.monotonic()
    _, plane = asked(infer_body(parameters=parameters), headers)
    assert before + seconds <= plane.questions[0].deadline <= time.monotonic() + seconds


def test_a_single_failed_item_carries_its_status() -> None:
    reply, plane = asked(infer_body(parameters={"binary_data_output": True}), plane=Plane(failed))
    assert reply.status == 422
    assert reply.error == "the item looks like an attack"
    assert reply.json["outputs"][0]["data"] == ["rejected"]
    assert plane.codes == [Code.REJECTED]


def test_among_several_items_a_failed_one_is_marked() -> None:
    reply, _ = asked(infer_body(2), plane=Plane(failed))
    assert reply.status == 200
    outputs = {output["name"]: output["data"] for output in reply.json["outputs"]}
    assert outputs["item_status"] == ["rejected"] * 2
    assert outputs["message"] == ["the item looks like an attack"] * 2


@pytest.mark.parametrize(
    ("code", "seconds", "header"),
    [
        (Code.BUSY, 2.1, "3"),
        (Code.BUSY, None, "1"),
        (Code.UNAVAILABLE, 0.01, "1"),
        (Code.EXPIRED, None, None),
        (Code.INTERNAL, None, None),
    ],
)
def test_a_refusal_of_the_data_plane_is_told_and_recorded_once(
    code: Code, seconds: float | None, header: str | None
) -> None:
    def refuse(question: Question) -> Outcome:
        raise Refusal(code, "not now", retry_after_s=seconds)

    reply, _ = asked(infer_body(), plane=Plane(refuse))
    assert reply.status == code.http
    assert reply.error == "not now"
    assert reply.headers.get("retry-after") == header


def test_a_fault_of_ours_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    def break_down(question: Question) -> Outcome:
        raise RuntimeError("secret")

    async def test() -> None:
        async with site(Plane(break_down)) as opened:
            reply = await opened.ask("POST", INFER, infer_body())
            assert reply.status == 500
            assert "secret" not in reply.error

    run(test())
    assert "secret" in caplog.text


BAD = [
    (b"", {}, 400, "parsed"),
    (b"{", {}, 400, "parsed"),
    (b"\xff\xfe", {}, 400, "parsed"),
    (b"[" * 100_000, {}, 400, "parsed"),
    (b"[]", {}, 400, "no object"),
    (b"{}", {}, 400, "none"),
    (b'{"inputs": null}', {}, 400, "none"),
    (b'{"inputs": {}}', {}, 400, "no list of objects"),
    (b'{"inputs": [1]}', {}, 400, "no list of objects"),
    (orjson.dumps({"inputs": [tensor(data=[0] * 48)] * 2}), {}, 400, "exactly one"),
    (orjson.dumps({"inputs": [tensor(data=[0])] * 40}), {}, 400, "exactly one"),
    (orjson.dumps({"inputs": [tensor(data=[0] * 47)]}), {}, 400, "needs 48"),
    (orjson.dumps({"inputs": [tensor()]}), {}, 400, "neither"),
    (orjson.dumps({"inputs": [tensor(data={})]}), {}, 400, "neither"),
    (orjson.dumps({"inputs": [tensor(data=[0] * 48, shape=[2.0, 2, 3, 4])]}), {}, 400, "shape"),
    (orjson.dumps({"inputs": [tensor(data=[0] * 48, shape=[True, 2, 3, 4])]}), {}, 400, "shape"),
    (orjson.dumps({"inputs": [tensor(data=[0] * 48, name=1)]}), {}, 400, '"name"'),
    (orjson.dumps({"inputs": [tensor(data=[0] * 48, datatype=None)]}), {}, 400, '"datatype"'),
    (orjson.dumps({"inputs": [tensor(data=[0] * 24 * 51, shape=[51, 2, 3, 4])]}), {}, 413, "50"),
    (orjson.dumps({"inputs": [tensor(parameters={"binary_data_size": 48})]}), {}, 400, "0 bytes"),
    (orjson.dumps({"inputs": [tensor(parameters={"binary_data_size": -1})]}), {}, 400, "whole"),
    (orjson.dumps({"inputs": [tensor(parameters={"binary_data_size": 2**63})]}), {}, 400, "whole"),
    (orjson.dumps({"inputs": [tensor(parameters=[])]}), {}, 400, "no object"),
    (orjson.dumps({"inputs": [tensor(parameters={"shared_memory_region": "r"})]}), {}, 501, "bin"),
    (infer_body(id=7), {}, 400, '"id"'),
    (infer_body(parameters=7), {}, 400, '"parameters"'),
    (infer_body(parameters={"timeout": -1}), {}, 400, "timeout"),
    (infer_body(parameters={"timeout": "1"}), {}, 400, "timeout"),
    (infer_body(parameters={"binary_data_output": 1}), {}, 400, "binary_data_output"),
    (infer_body(outputs=[{"name": "logits"}]), {}, 400, "there are item_status"),
    (infer_body(outputs=[{"name": "attribution"}]), {}, 400, "attribution"),
    (infer_body(outputs=[{}]), {}, 400, '"name"'),
    (infer_body(outputs=[{"name": "label"}] * 40), {}, 400, "more than"),
    (
        infer_body(outputs=[{"name": "label", "parameters": {"classification": 3}}]),
        {},
        501,
        "probabilities",
    ),
    (infer_body(), {JSON_LENGTH: "-1"}, 400, JSON_LENGTH),
    (infer_body(), {JSON_LENGTH: "99999999999999999999"}, 400, JSON_LENGTH),
    (infer_body(), {JSON_LENGTH: "100000"}, 400, JSON_LENGTH),
    (infer_body(), {JSON_LENGTH: "0"}, 400, "parsed"),
    (infer_body() + b"more", {JSON_LENGTH: str(len(infer_body()))}, 400, "4 bytes"),
    (infer_body(), {"x-request-timeout-ms": "soon"}, 400, "timeout"),
    (infer_body(), {"x-request-timeout-ms": "0"}, 400, "timeout"),
    (infer_body(), {"content-encoding": "br"}, 415, "gzip and deflate"),
    (infer_body(), {"content-encoding": "gzip"}, 400, "no gzip"),
    (infer_body(), {"content-encoding": "deflate"}, 400, "no deflate"),
    (gzip.compress(infer_body(), mtime=0)[:-5], {"content-encoding": "gzip"}, 400, "exactly one"),
    (gzip.compress(infer_body(), mtime=0) * 2, {"content-encoding": "gzip"}, 400, "exactly one"),
    (b"", {"content-encoding": "gzip"}, 400, "exactly one"),
]


def test_what_is_malformed_is_refused_with_what_was_expected() -> None:
    async def test() -> None:
        async with site() as opened:
            for body, headers, status, hint in BAD:
                opened.plane.records.clear()
                reply = await opened.ask("POST", INFER, body, headers)
                assert (reply.status, hint in reply.error) == (status, True), (hint, reply.error)
                assert [code.http for code in opened.plane.codes] == [status]
            assert opened.plane.questions == []

    run(test())


def test_too_much_json_is_refused_before_it_is_parsed() -> None:
    reply, _ = asked(b'{"inputs": "' + b"x" * 8 * 1024 * 1024 + b'"}')
    assert reply.status == 413
    assert "binary data" in reply.error


def test_a_bomb_is_stopped_at_the_limit() -> None:
    bomb = gzip.compress(bytes(20 * 1024 * 1024))

    async def test() -> None:
        async with site(max_body_mib=1) as opened:
            reply = await opened.ask("POST", INFER, bomb, {"content-encoding": "gzip"})
            assert reply.status == 413
            assert "1048576" in reply.error  # the limit on bodies, not that on JSON
            assert opened.front._guard.refuser.budget.held == 0  # type: ignore[attr-defined]

    run(test())


def test_bodies_together_are_bounded() -> None:
    async def test() -> None:
        async with site(max_body_mib=1, max_queued_mib=1) as opened:
            waiting = [await opened.connect() for _ in range(4)]
            for connection in waiting:
                head = f"POST {INFER} HTTP/1.1\r\nauthorization: Bearer {GOOD}\r\n"
                head += f"content-length: {2**20}\r\n\r\n"
                await connection.send(head.encode() + bytes(700_000))
            await opened.settle(lambda: Code.BUSY in opened.plane.codes)
            busy = [code for code in opened.plane.codes if code is Code.BUSY]
            assert 1 <= len(busy) <= 3
            for connection in waiting:
                connection.close()
            await opened.settle(lambda: len(opened.plane.codes) == 4)
            assert (await opened.ask("POST", INFER, infer_body())).status == 200

    run(test())


def test_one_client_with_stalled_bodies_leaves_room_for_another() -> None:
    async def test() -> None:
        async with site(max_body_mib=1, max_queued_mib=1) as opened:
            stalled = [await opened.connect() for _ in range(5)]
            for connection in stalled:
                await connection.send(
                    f"POST {INFER} HTTP/1.1\r\nauthorization: Bearer {GOOD}\r\n"
                    f"content-length: {2**20}\r\n\r\n".encode()
                    + bytes(2**20 - 1000)
                )
            await opened.settle(lambda: opened.plane.codes == [Code.BUSY] * 3)
            refused = await stalled[-1].reply()
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert "of this client" in refused.error
            large = infer_body() + b" " * 900_000
            assert (await opened.ask("POST", INFER, large, key="tk_predict")).status == 200
            for connection in stalled:
                connection.close()
            await opened.settle(lambda: len(opened.plane.codes) == 6)
            budget = opened.front._guard.refuser.budget  # type: ignore[attr-defined]
            assert (budget.held, dict(budget._of_client)) == (0, {})
            assert (await opened.ask("POST", INFER, large)).status == 200

    run(test())


@pytest.mark.parametrize("end", [b"]", b""])
def test_much_json_is_parsed_and_the_cycle_collector_goes_on(end: bytes) -> None:
    data = b",".join([b"0"] * 24 * 2000)
    described = b'{"name": "image", "datatype": "UINT8", "shape": [2000, 2, 3, 4], "data": ['
    body = b'{"inputs": [' + described + data + end + b"}]}"
    assert gc.isenabled()
    reply, _ = asked(body)
    assert reply.status == (413 if end else 400)
    assert gc.isenabled()
