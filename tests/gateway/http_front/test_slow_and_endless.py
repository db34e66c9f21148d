"""Heads and bodies that are slow, endless or no HTTP: cut off, and recorded once."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http_front.protocol import MAX_HEAD_BYTES, MAX_HEADERS
from gateway.refusal import Code
from tests.gateway.http_front.callers import ASK, HEAD, INFER, LIVE
from tests.gateway.http_front.serving import (
    GOOD,
    Connection,
    infer_body,
    run,
    site,
)

# the head of a request


def test_a_connection_that_says_nothing_is_closed() -> None:
    async def test() -> None:
        async with site(header_timeout_s=0.2) as opened:
            assert await (await opened.connect()).closed(3) == b""
            assert opened.plane.records == []

    run(test())


async def drip(connection: Connection, data: bytes) -> None:
    for byte in data:
        try:
            await connection.send(bytes([byte]))
        except ConnectionError:
            return
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("first", [b"", LIVE])
def test_a_head_that_drips_is_cut_off(first: bytes) -> None:
    async def test() -> None:
        async with site(header_timeout_s=0.3) as opened:
            connection = await opened.connect()
            if first:
                await connection.send(first)
                await connection.reply()
            dripping = asyncio.create_task(drip(connection, HEAD * 10))
            reply = await connection.reply()
            assert reply.status == 408
            assert "within 0.3 s" in reply.error
            assert await connection.closed(5) == b""
            dripping.cancel()
            assert opened.plane.codes == [Code.SLOW]

    run(test())


@pytest.mark.parametrize(
    ("sent", "hint"),
    [
        (b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n", str(MAX_HEAD_BYTES)),
        (b"GET / HTTP/1.1\r\na: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", str(MAX_HEAD_BYTES)),
        (b"GET / HTTP/1.1\r\na: " + b"a" * 300_000, str(MAX_HEAD_BYTES)),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", str(MAX_HEADERS)),
        (b"GET /\xff HTTP/1.1\r\n\r\n", "no HTTP"),
        (b"GET http:// HTTP/1.1\r\n\r\n", "no HTTP"),
        (b"GET / HTTP/9.9\r\n\r\n", "no HTTP"),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", "no HTTP"),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", "no HTTP"),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "no HTTP"),
        (
            b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            "no HTTP",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "no HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "no HTTP"),
        (b"hello\r\n\r\n", "no HTTP"),
    ],
)
def test_what_is_no_request_is_told_so_and_recorded(sent: bytes, hint: str) -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            await connection.send(sent)
            reply = await connection.reply()
            assert reply.status == 400
            assert hint in reply.error
            assert reply.headers["connection"] == "close"
            assert await connection.closed() == b""
            assert opened.plane.codes == [Code.INVALID]
            assert opened.plane.records[0].arrival.route == "unparsed"

    run(test())


# the body of a request


def chunked(*chunks: bytes) -> bytes:
    parts = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b"")]
    return HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"".join(parts)


def test_a_body_in_chunks_and_in_pieces_is_put_together() -> None:
    body = infer_body()

    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            whole = chunked(body[:7], body[7:8], body[8:])
            for start in range(0, len(whole), 50):
                await connection.send(whole[start : start + 50])
                await asyncio.sleep(0.001)
            assert (await connection.reply()).status == 200
            assert opened.plane.records[0].arrival.bytes_in == len(body)

    run(test())


def test_a_large_body_arrives_whole() -> None:
    body = infer_body() + b" " * 3_000_000

    async def test() -> None:
        async with site() as opened:
            assert (await opened.ask("POST", INFER, body)).status == 200
            assert opened.plane.records[0].arrival.bytes_in == len(body)

    run(test())


def test_a_body_that_drips_is_cut_off() -> None:
    async def test() -> None:
        async with site(body_timeout_s=0.3) as opened:
            connection = await opened.connect()
            await connection.send(HEAD + b"content-length: 500\r\n\r\n")
            dripping = asyncio.create_task(drip(connection, bytes(400)))
            reply = await connection.reply()
            assert reply.status == 408
            assert "in time" in reply.error
            assert await connection.closed(5) == b""
            dripping.cancel()
            assert opened.plane.codes == [Code.SLOW]
            assert opened.plane.records[0].arrival.bytes_in > 0

    run(test())


def test_a_body_that_is_declared_too_large_is_refused_before_it_is_read() -> None:
    async def test() -> None:
        async with site(max_body_mib=1) as opened:
            connection = await opened.connect()
            await connection.send(HEAD + b"content-length: 1048577\r\n\r\n")
            reply = await connection.reply()
            assert reply.status == 413
            assert "1048576" in reply.error
            assert opened.plane.codes == [Code.TOO_LARGE]
            await connection.send(bytes(1_048_577))  # it is thrown away
            await connection.send(LIVE)
            assert (await connection.reply()).status == 200

    run(test())


def test_an_endless_body_is_cut_off_at_the_limit() -> None:
    async def test() -> None:
        async with site(max_body_mib=1) as opened:
            connection = await opened.connect()
            await connection.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
            piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
            for _ in range(40):
                await connection.send(piece)
            assert (await connection.reply()).status == 413
            assert opened.plane.codes == [Code.TOO_LARGE]
            assert opened.plane.records[0].arrival.bytes_in < 2_000_000
            assert await connection.closed() == b""  # the rest never came

    run(test())


def test_without_a_key_no_body_is_read() -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            head = f"POST {INFER} HTTP/1.1\r\ncontent-length: 1000\r\n\r\n".encode()
            await connection.send(head)
            assert (await connection.reply()).status == 401
            assert opened.plane.records[0].arrival.bytes_in == 0
            assert await connection.closed() == b""

    run(test())


def test_malformed_chunks_are_refused() -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            await connection.send(HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
            reply = await connection.reply()
            assert (reply.status, "chunks" in reply.error) == (400, True)
            assert await connection.closed() == b""
            assert opened.plane.codes == [Code.INVALID]

    run(test())


def test_what_follows_a_whole_request_and_is_none_ends_the_connection_after_its_answer() -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            await connection.send(ASK + b"\x00\x00")
            assert (await connection.reply()).status == 200
            assert await connection.closed() == b""
            assert opened.plane.codes == [Code.OK]

    run(test())


def test_a_body_is_asked_for_once_the_key_is_known() -> None:
    body = infer_body()
    expects = b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body)

    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            await connection.send(HEAD + expects)
            async with asyncio.timeout(5):
                told = await connection.reader.readuntil(b"\r\n\r\n")
            assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
            await connection.send(body)
            reply = await connection.reply()
            assert reply.status == 200
            assert "connection" not in reply.headers
            stranger = await opened.connect()
            await stranger.send(HEAD.replace(GOOD.encode(), b"tk_bad") + expects)
            refused = await stranger.reply()
            assert (refused.status, refused.headers["connection"]) == (401, "close")
            assert await stranger.closed() == b""

    run(test())


def test_an_upgrade_is_not_followed() -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            await connection.send(
                b"GET /v2/health/live HTTP/1.1\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"
            )
            reply = await connection.reply()
            assert (reply.status, reply.headers["connection"]) == (200, "close")
            with_body = await opened.connect()
            body = infer_body()
            upgrade = b"upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: %d\r\n\r\n"
            await with_body.send(HEAD + upgrade % len(body) + body)
            reply = await with_body.reply()
            assert (reply.status, "HTTP/1.1" in reply.error) == (400, True)
            assert opened.plane.codes == [Code.INVALID]

    run(test())


def test_malformed_chunks_after_the_answer_end_the_connection_without_another() -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            head = HEAD.replace(GOOD.encode(), b"tk_bad")
            await connection.send(head + b"transfer-encoding: chunked\r\n\r\n")
            assert (await connection.reply()).status == 401
            await connection.send(b"zz\r\n")
            assert await connection.closed() == b""
            assert opened.plane.codes == [Code.UNAUTHENTICATED]

    run(test())
