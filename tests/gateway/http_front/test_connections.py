"""Connections: kept, shared, bounded in number, left by their callers, and drained."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.http_front.response import give, json_response
from gateway.outcome import Outcome
from gateway.question import Question
from gateway.refusal import Code
from tests.gateway.http_front.callers import ASK, HEAD, INFER, LIVE, Gate, half_close, reset
from tests.gateway.http_front.serving import (
    Connection,
    Plane,
    Site,
    answer_to,
    infer_body,
    request,
    run,
    site,
)
from torchkeep.errors import ServerError

# connections that are kept


def test_a_connection_serves_one_request_after_another() -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            for _ in range(5):
                await connection.send(ASK)
                assert (await connection.reply()).status == 200
            await connection.send(request("GET", "/none"))
            assert (await connection.reply()).status == 404
            await connection.send(LIVE)
            assert (await connection.reply()).status == 200
            assert opened.plane.codes == [Code.OK] * 5 + [Code.NOT_FOUND]

    run(test())


def test_pipelined_requests_are_answered_in_order() -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            ids = [f"r-{number}" for number in range(12)]
            await connection.send(
                b"".join(
                    request("POST", INFER, infer_body(), {"x-request-id": name}) for name in ids
                )
            )
            assert [(await connection.reply()).headers["x-request-id"] for _ in ids] == ids

    run(test())


def test_too_many_pipelined_requests_end_the_connection_after_the_first() -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            await connection.send(LIVE * 500)
            replies = (await connection.closed()).count(b"HTTP/1.1 200")
            assert 1 <= replies <= 40
            assert (await opened.ask("GET", "/v2")).status == 200

    run(test())


@pytest.mark.parametrize("told", [b"HTTP/1.0\r\n", b"HTTP/1.1\r\nconnection: close\r\n"])
def test_a_caller_that_wants_no_more_is_let_go(told: bytes) -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            await connection.send(b"GET /v2/health/live " + told + b"\r\n")
            reply = await connection.reply()
            assert (reply.status, reply.headers["connection"]) == (200, "close")
            assert await connection.closed() == b""

    run(test())


def test_a_silent_connection_is_closed_after_a_while() -> None:
    async def test() -> None:
        async with site(keep_alive_s=0.2, header_timeout_s=5) as opened:
            connection = await opened.connect()
            await connection.send(LIVE)
            await connection.reply()
            assert await connection.closed(3) == b""
            assert opened.plane.records == []

    run(test())


# callers that go away


def test_a_caller_that_is_gone_before_its_answer_leaves_no_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Transport:
        written = b""

        def is_closing(self) -> bool:
            return True

        def write(self, data: bytes) -> None:
            self.written += data

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await give(cycle, json_response({}), "r-1")

    transport = Transport()
    flow: Any = SimpleNamespace(write_paused=False)
    cycle = RequestResponseCycle(
        scope=cast(Any, {"method": "GET"}),
        transport=cast(Any, transport),
        flow=flow,
        logger=logging.getLogger("uvicorn.error"),
        access_logger=logging.getLogger("uvicorn.access"),
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )
    run(cycle.run_asgi(cast(Any, answer)))
    assert caplog.records == []
    assert transport.written == b""


def test_a_caller_that_goes_away_cancels_its_question() -> None:
    async def test() -> None:
        async with site(Plane(Gate())) as opened:
            for leave in (Connection.close, reset, half_close):
                opened.plane.records.clear()
                opened.plane.questions.clear()
                connection = await opened.connect()
                await connection.send(ASK)
                await opened.settle(lambda: len(opened.plane.questions) == 1)
                leave(connection)
                await opened.settle(lambda: opened.plane.codes == [Code.CANCELLED])

    run(test())


def test_a_caller_with_a_large_body_that_goes_away_is_noticed_too() -> None:
    async def test() -> None:
        async with site(Plane(Gate())) as opened:
            connection = await opened.connect()
            whole = request("POST", INFER, infer_body() + b" " * 100_000)
            await connection.send(whole[:200])
            await asyncio.sleep(0.05)  # so that all of the rest comes at once, and reading pauses
            await connection.send(whole[200:])
            await opened.settle(lambda: len(opened.plane.questions) == 1)
            connection.close()
            await opened.settle(lambda: opened.plane.codes == [Code.CANCELLED])

    run(test())


def test_a_pipelining_caller_that_goes_away_leaves_nothing_behind() -> None:
    async def test() -> None:
        gate = Gate()
        async with site(Plane(gate)) as opened:
            connection = await opened.connect()
            await connection.send(ASK)
            await opened.settle(lambda: len(opened.plane.questions) == 1)
            await connection.send(ASK + ASK)
            await asyncio.sleep(0.05)
            reset(connection)
            gate.open.set()
            await opened.settle(lambda: opened.front._connections() == [])
            assert 1 <= len(opened.plane.questions) == len(opened.plane.records)

    run(test())


@pytest.mark.parametrize(
    "sent", [b"content-length: 500\r\n\r\nabc", b"content-length: 500\r\n\r\n"]
)
def test_a_body_that_is_shorter_than_it_said_is_recorded_once(sent: bytes) -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            await connection.send(HEAD + sent)
            await asyncio.sleep(0.05)
            half_close(connection)
            assert await connection.closed() == b""
            await opened.settle(lambda: opened.plane.codes == [Code.CANCELLED])

    run(test())


def test_a_head_that_is_broken_off_leaves_nothing() -> None:
    async def test() -> None:
        async with site() as opened:
            connection = await opened.connect()
            await connection.send(HEAD)
            half_close(connection)
            assert await connection.closed() == b""
            assert opened.plane.records == []

    run(test())


def test_a_caller_that_does_not_read_is_cut_off() -> None:
    def verbose(question: Question) -> Outcome:
        return replace(answer_to(question), labels=["x" * 4_000_000] * len(question))

    async def test() -> None:
        async with site(Plane(verbose), send_timeout_s=0.3, keep_alive_s=0.3) as opened:
            connection = await opened.connect(limit=1024)
            await connection.send(ASK * 3)
            await opened.settle(lambda: opened.plane.codes != [])
            assert len(opened.front._connections()) == 1
            await opened.settle(lambda: opened.front._connections() == [])

    run(test())


# many callers


def test_beyond_the_most_connections_a_caller_is_turned_away() -> None:
    async def test() -> None:
        async with site(max_connections=3) as opened:
            kept = [await opened.connect() for _ in range(3)]
            await opened.settle(lambda: len(opened.front._connections()) == 3)
            turned_away = await opened.connect()
            reply = await turned_away.reply()
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert await turned_away.closed() == b""
            assert opened.plane.codes == [Code.UNAVAILABLE]
            kept.pop().close()
            await opened.settle(lambda: len(opened.front._connections()) == 2)
            assert (await opened.ask("GET", "/v2")).status == 200

    run(test())


def test_many_callers_at_once_are_all_answered() -> None:
    async def one(opened: Site) -> int:
        return (await opened.ask("POST", INFER, infer_body())).status

    async def test() -> None:
        async with site() as opened:
            found = await asyncio.gather(*(one(opened) for _ in range(200)))
            assert found == [200] * 200
            assert opened.plane.codes == [Code.OK] * 200

    run(test())


# the end


def test_draining_answers_what_is_under_way_and_takes_nothing_new() -> None:
    async def test() -> None:
        gate = Gate()
        async with site(Plane(gate)) as opened:
            idle, busy = await opened.connect(), await opened.connect()
            await idle.send(LIVE)
            await idle.reply()
            await busy.send(ASK)
            await opened.settle(lambda: len(opened.plane.questions) == 1)
            draining = asyncio.create_task(opened.front.drain(5))
            assert await idle.closed() == b""
            with pytest.raises(OSError, match=r"[Cc]onnect"):
                await opened.connect()
            assert not draining.done()
            gate.open.set()
            reply = await busy.reply()
            assert (reply.status, reply.headers["connection"]) == (200, "close")
            await draining
            assert opened.plane.codes == [Code.OK]

    run(test())


def test_draining_answers_a_request_that_is_half_there() -> None:
    async def test() -> None:
        async with site() as opened:
            head, body = await opened.connect(), await opened.connect()
            await head.send(ASK[:40])
            await body.send(ASK[:-30])
            await opened.settle(lambda: len(opened.front._connections()) == 2)
            await asyncio.sleep(0.05)
            draining = asyncio.create_task(opened.front.drain(5))
            await asyncio.sleep(0.05)
            await head.send(ASK[40:])
            await body.send(ASK[-30:])
            for connection in (head, body):
                reply = await connection.reply()
                assert (reply.status, reply.headers["connection"]) == (200, "close")
            await draining

    run(test())


def test_draining_breaks_off_what_takes_too_long() -> None:
    async def test() -> None:
        async with site(Plane(Gate())) as opened:
            connection = await opened.connect()
            await connection.send(ASK)
            await opened.settle(lambda: len(opened.plane.questions) == 1)
            await opened.front.drain(0.1)
            reply = await connection.reply()
            assert (reply.status, "shutting down" in reply.error) == (503, True)
            assert opened.front._connections() == []
            assert opened.plane.codes == [Code.CANCELLED]

    run(test())


def test_a_port_in_use_is_told_with_a_remedy() -> None:
    async def test() -> None:
        async with site() as opened:
            with pytest.raises(ServerError, match="http_port"):
                async with site(http_port=opened.port):
                    pass

    run(test())
