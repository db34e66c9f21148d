"""The connections to TorchServe: kept, counted, cut, and never trusted with more than they hold."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plane.connection import BrokenAnswerError, Connection, Reply
from gateway.plane.connections import Connections
from tests.gateway.plane.house import run
from tests.gateway.plane.raw_server import raw_server

ASKED = (b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n", b"hi")
SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
)
HELLO = Reply(200, b"hello")


class Cable(asyncio.Transport):
    """Carries nothing anywhere."""

    def writelines(self, parts: Any) -> None: ...
    def abort(self) -> None: ...


@given(answer=st.sampled_from([SIZED, CHUNKED]), cuts=st.lists(st.integers(1, 100), max_size=6))
def test_an_answer_is_the_same_however_its_bytes_arrive(answer: bytes, cuts: list[int]) -> None:
    async def scene() -> None:
        connection = Connection(5)
        connection.connection_made(Cable())
        for _ in range(2):
            reply = asyncio.create_task(connection.ask(ASKED))
            await asyncio.sleep(0)
            assert not connection.usable
            edges = [0, *sorted({cut for cut in cuts if cut < len(answer)}), len(answer)]
            for start, end in pairwise(edges):
                connection.data_received(answer[start:end])
            assert await reply == HELLO
            assert connection.usable

    asyncio.run(scene())


def test_connections_are_kept_for_the_next_calls() -> None:
    async def scene() -> None:
        async with raw_server() as server:
            server.sayings = [[SIZED], [CHUNKED], [SIZED], [SIZED]]
            connections = Connections(server.address, 100)
            assert [await connections.ask(ASKED) for _ in range(2)] == [HELLO, HELLO]
            assert server.connections == 1
            assert server.requests == [b"".join(ASKED)] * 2
            await asyncio.gather(connections.ask(ASKED), connections.ask(ASKED))
            assert server.connections == 2
            connections.close()

    run(scene())


REFUSED = b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-length: 0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("answer", [REFUSED, LAST])
def test_a_connection_that_refused_or_says_so_is_not_used_again(answer: bytes) -> None:
    async def scene() -> None:
        async with raw_server() as server:
            server.sayings = [[answer], [SIZED]]
            connections = Connections(server.address, 100)
            assert (await connections.ask(ASKED)).body == b""
            assert await connections.ask(ASKED) == HELLO
            assert server.connections == 2
            connections.close()

    run(scene())


def test_the_beginning_of_a_second_answer_is_not_left_to_the_next_call() -> None:
    async def scene() -> None:
        async with raw_server() as server:
            second = SIZED.replace(b"hello", b"wrong")
            server.sayings = [[SIZED + second[:-1]], [second[-1:], SIZED], [SIZED]]
            connections = Connections(server.address, 100)
            assert await connections.ask(ASKED) == HELLO
            server.sayings.pop(0)
            assert await connections.ask(ASKED) == HELLO
            assert server.connections == 2
            connections.close()

    run(scene())


UPGRADE = b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"


def test_an_upgrade_is_a_refusal() -> None:
    async def scene() -> None:
        connection = Connection(5)
        connection.connection_made(Cable())
        reply = asyncio.create_task(connection.ask(ASKED))
        await asyncio.sleep(0)
        connection.data_received(UPGRADE)
        assert (await reply).status == 101
        assert not connection.usable

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n" + bytes(101)], "more than 100 bytes"),
        ([CHUNKED.split(b"2\r\n")[0], *[b"32\r\n" + bytes(50) + b"\r\n"] * 3], "more than 100"),
        ([b"+OK hello\r\n"], "no HTTP/1.1"),
    ],
)
def test_what_is_too_large_or_no_http_is_broken_off(answer: list[bytes], message: str) -> None:
    async def scene() -> None:
        async with raw_server() as server:
            server.sayings = [answer, [SIZED]]
            connections = Connections(server.address, 100)
            with pytest.raises(BrokenAnswerError, match=message):
                await connections.ask(ASKED)
            assert await connections.ask(ASKED) == HELLO
            connections.close()

    run(scene())


@pytest.mark.parametrize("answer", [[b""], [SIZED[:20], b""], [SIZED[:-1], b""]])
def test_a_connection_lost_before_the_answer_is_whole_says_so(answer: list[bytes]) -> None:
    async def scene() -> None:
        async with raw_server() as server:
            server.sayings = [answer]
            with pytest.raises(ConnectionError, match="lost"):
                await Connections(server.address, 100).ask(ASKED)

    run(scene())


def test_a_call_that_is_cancelled_leaves_no_answer_to_the_next_one() -> None:
    async def scene() -> None:
        async with raw_server() as server:
            server.sayings = [[], [SIZED]]
            connections = Connections(server.address, 100)
            hung = asyncio.create_task(connections.ask(ASKED))
            while not server.requests:
                await asyncio.sleep(0.01)
            hung.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hung
            assert await connections.ask(ASKED) == HELLO
            assert server.connections == 2
            connections.close()

    run(scene())


def test_what_nobody_asked_for_closes_the_connection() -> None:
    async def scene() -> None:
        async with raw_server() as server:
            server.sayings = [[SIZED, SIZED], [SIZED]]
            connections = Connections(server.address, 100)
            assert await connections.ask(ASKED) == HELLO
            await asyncio.sleep(0.1)
            assert await connections.ask(ASKED) == HELLO
            assert server.connections == 2
            connections.close()

    run(scene())
