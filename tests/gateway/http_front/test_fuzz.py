"""Whatever bytes come: an answer below 500, in JSON, with one record; then the next is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.http_front.serving import Connection, Site, request, run, site

FUZZ = settings(deadline=None, max_examples=12, derandomize=True)
LONG = settings(FUZZ, max_examples=1250)
AT_ONCE = 20
"""Requests an example: 25,000 of a kind in the long tests."""
INFER = "/v2/models/digits/infer"
EXPLAIN = "/v2/models/digits/explain"
JSON_LENGTH = "inference-header-content-length"

leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
value = st.recursive(
    leaf,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=10,
)
side = st.sampled_from([2, 3, 4, 1, 0, -1, 2**31, 2**63])
shape = st.just([1, 2, 3, 4]) | st.lists(side, max_size=6) | value
data = st.just([0] * 24) | st.lists(st.integers(-1, 256) | leaf, max_size=30) | value
parameters = st.fixed_dictionaries(
    {},
    optional={
        "binary_data_size": st.integers(-1, 60) | value,
        "content_type": st.sampled_from(["base64", "str"]) | value,
        "binary_data": value,
        "classification": value,
        "timeout": value,
        "binary_data_output": st.booleans() | value,
    },
)
tensor = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("image") | value,
        "datatype": st.sampled_from(["UINT8", "FP32", "BF16", "FP16", "BYTES", "INT8"]) | value,
        "shape": shape,
        "data": data,
        "parameters": parameters | value,
    },
)
output = st.fixed_dictionaries(
    {"name": st.sampled_from(["label", "score", "nothing"]) | value},
    optional={"parameters": parameters | value},
)
document = st.fixed_dictionaries(
    {"inputs": st.lists(tensor, max_size=2) | value},
    optional={
        "id": st.text(max_size=5) | value,
        "parameters": parameters | value,
        "outputs": st.lists(output, max_size=3) | value,
    },
)


async def fair(opened: Site, sent: bytes) -> None:
    """Send a request; what comes back must be a refusal or an answer, and recorded once."""
    opened.plane.records.clear()
    connection = await opened.connect()
    await connection.send(sent)
    reply = await connection.reply()
    assert reply.status < 500 or reply.status == 501, (sent, reply)
    assert reply.headers["content-type"].startswith(("application/json", "application/octet"))
    if reply.status != 200:
        assert reply.error
        assert len(reply.error) < 1000
    assert [code.http for code in opened.plane.codes] == [reply.status]
    connection.close()


def json_bodies(documents: list[tuple[str, Any]]) -> None:
    async def test() -> None:
        async with site() as opened:
            for path, described in documents:
                body = json.dumps(described).encode("utf-8", "surrogatepass")
                await fair(opened, request("POST", path, body))

    run(test())


layout = st.tuples(
    st.integers(0, 3),  # items that the shape says
    st.sampled_from(["UINT8", "FP32", "BF16", "BYTES"]),
    st.integers(-2, 400),  # what binary_data_size says
    st.binary(max_size=300),  # what is there
    st.integers(-3, 3),  # by how much the header lies
)


def binary_layouts(layouts: list[tuple[int, str, int, bytes, int]]) -> None:
    async def test() -> None:
        async with site() as opened:
            for count, datatype, size, raw, lie in layouts:
                sides = [count] if datatype == "BYTES" else [count, 2, 3, 4]
                described = {
                    "name": "image",
                    "datatype": datatype,
                    "shape": sides,
                    "parameters": {"binary_data_size": size},
                }
                head = json.dumps({"inputs": [described]}).encode()
                headers = {JSON_LENGTH: str(len(head) + lie)}
                await fair(opened, request("POST", INFER, head + raw, headers))

    run(test())


text = st.text(
    st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=40
)
name = st.sampled_from(
    [
        "x-request-id",
        "x-correlation-id",
        "x-session-id",
        "x-segments",
        "x-request-timeout-ms",
        "traceparent",
        "content-type",
        "content-encoding",
        "accept-encoding",
        JSON_LENGTH,
    ]
)
method = st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"])
part = st.sampled_from(["v2", "models", "digits", "versions", "1.0", "infer", "predictions", ""])
path = st.lists(part | st.from_regex(r"[A-Za-z0-9._~%-]{1,6}", fullmatch=True), max_size=7)


head = st.tuples(method, path, st.dictionaries(name, text, max_size=4), st.binary(max_size=60))


def heads(requests: list[tuple[str, list[str], dict[str, str], bytes]]) -> None:
    async def test() -> None:
        async with site() as opened:
            for verb, parts, headers, body in requests:
                opened.plane.records.clear()
                connection = await opened.connect()
                await connection.send(request(verb, "/" + "/".join(parts), body, headers))
                reply = await connection.reply(head_only=verb == "HEAD")
                assert reply.status < 500 or reply.status == 501
                assert len(opened.plane.codes) == 1
                connection.close()

    run(test())


raw = st.one_of(
    st.binary(max_size=200),
    st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)).map(
        lambda change: mutated(*change)
    ),
)


def mutated(place: int, patch: bytes) -> bytes:
    whole = request("POST", INFER, b'{"inputs": []}')
    place %= len(whole)
    return whole[:place] + patch + whole[place + len(patch) :]


def bytes_that_may_be_no_http(attempts: list[bytes]) -> None:
    async def test() -> None:
        async with site() as opened:
            for attempt in attempts:
                connection = await opened.connect()
                await connection.send(attempt)
                connection.writer.write_eof()
                for status in statuses_in(await connection.closed()):
                    assert status < 500 or status == 501
                connection.close()
            assert (await opened.ask("GET", "/v2")).status == 200

    run(test())


def statuses_in(answers: bytes) -> list[int]:
    return [int(line[9:12]) for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


KINDS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {
    "json": (st.tuples(st.sampled_from([INFER, EXPLAIN]), document), json_bodies),
    "binary": (layout, binary_layouts),
    "heads": (head, heads),
    "bytes": (raw, bytes_that_may_be_no_http),
}


def some_of(kind: str, data: st.DataObject) -> None:
    drawn, exchange = KINDS[kind]
    exchange(data.draw(st.lists(drawn, min_size=AT_ONCE, max_size=AT_ONCE)))


@pytest.mark.parametrize("kind", KINDS)
@FUZZ
@given(data=st.data())
def test_whatever_comes_is_answered(kind: str, data: st.DataObject) -> None:
    some_of(kind, data)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
@LONG
@given(data=st.data())
def test_whatever_comes_is_answered_many_times(kind: str, data: st.DataObject) -> None:
    some_of(kind, data)


def test_a_connection_serves_on_after_every_refusal() -> None:
    async def test() -> None:
        async with site() as opened:
            connection: Connection = await opened.connect()
            for body in (b"{", b"[]", b"", b"\xff"):
                await connection.send(request("POST", INFER, body))
                assert (await connection.reply()).status == 400

    run(test())
