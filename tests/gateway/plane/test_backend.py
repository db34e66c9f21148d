"""The way to TorchServe: what its refusals mean for those who ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.plane.backend import Backend, BackendError
from gateway.plane.call import probe_envelope
from tests.gateway.plane.handler_server import (
    RESET,
    STALE_TOKEN,
    UNKNOWN,
    WORKER_HUNG,
    WORKER_KILLED,
    HandlerServer,
    Refused,
)
from tests.gateway.plane.house import run
from tests.gateway.plane.questions import DIGITS
from tests.handlers.conftest import Bench
from torchkeep.schema import ItemStatus, Operation

REQUEST = replace(probe_envelope((1, 8, 8), "r" * 16), operation=Operation.PREDICT)
FULL = Refused(503, "ServiceUnavailableException", "no worker to serve\ninference request")
TOO_LARGE = Refused(413)
NO_ENVELOPE = Refused(415, message="")


@asynccontextmanager
async def backend(bench: Bench, folder: Path, **changes: Any) -> AsyncIterator[tuple[Any, Backend]]:
    server = HandlerServer(bench.service, folder)
    await server.start()
    made = Backend(replace(server.upstream(DIGITS), **changes))
    watch = asyncio.create_task(made.watch())
    try:
        assert await made.until_connected(5)
        yield server, made
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await made.close()
        await server.stop()


@pytest.mark.parametrize(
    ("refused", "again", "unreachable", "too_large", "message"),
    [
        (WORKER_KILLED, True, False, False, "HTTP 507: Worker died."),
        (WORKER_HUNG, True, False, False, "HTTP 500: Worker died."),
        (FULL, True, False, False, "HTTP 503: no worker to serve inference request"),
        (STALE_TOKEN, True, True, False, "HTTP 400: Token Authorization failed."),
        (RESET, True, True, False, "TorchServe cannot be reached: the connection was lost"),
        (UNKNOWN, False, False, False, "HTTP 404: Model not found: digits"),
        (TOO_LARGE, False, False, True, "HTTP 413: "),
        (NO_ENVELOPE, False, False, False, "HTTP 415: "),
    ],
)
def test_a_refusal_says_whether_another_try_may_help(
    bench: Bench,
    tmp_path: Path,
    refused: Refused,
    again: bool,
    unreachable: bool,
    too_large: bool,
    message: str,
) -> None:
    async def scene() -> None:
        async with backend(bench, tmp_path) as (server, made):
            server.failures = [refused]
            with pytest.raises(BackendError) as caught:
                await made.ask(DIGITS, REQUEST)
            error = caught.value
            assert (error.again, error.unreachable, error.too_large) == (
                again,
                unreachable,
                too_large,
            )
            assert str(error) == message
            assert (await made.ask(DIGITS, REQUEST)).statuses == [ItemStatus.OK]

    run(scene())


def test_who_does_not_listen_is_unreachable(bench: Bench, tmp_path: Path) -> None:
    async def scene() -> None:
        async with backend(bench, tmp_path) as (server, made):
            assert made.connected
            await server.stop()
            with pytest.raises(BackendError, match="cannot be reached") as caught:
                await made.ask(DIGITS, REQUEST)
            assert caught.value.unreachable
            assert not await made.until_connected(0.1)
            assert not made.connected
            await server.start()
            assert await made.until_connected(5)
            assert (await made.ask(DIGITS, REQUEST)).statuses == [ItemStatus.OK]

    run(scene())


def test_chunks_and_lengths_bring_the_same_answer(bench: Bench, tmp_path: Path) -> None:
    async def scene() -> None:
        async with backend(bench, tmp_path) as (server, made):
            whole = await made.ask(DIGITS, REQUEST)
            server.chunk = 7
            pieces = await made.ask(DIGITS, REQUEST)
            assert pieces.probabilities.tolist() == whole.probabilities.tolist()

    run(scene())


def test_an_answer_of_more_bytes_than_agreed_is_hopeless(bench: Bench, tmp_path: Path) -> None:
    async def scene() -> None:
        async with backend(bench, tmp_path, max_response_bytes=64) as (_, made):
            with pytest.raises(BackendError, match="more than 64 bytes") as caught:
                await made.ask(DIGITS, REQUEST)
            assert not caught.value.again

    run(scene())


def test_an_answer_of_somebody_else_is_hopeless(bench: Bench, tmp_path: Path) -> None:
    async def scene() -> None:
        async with backend(bench, tmp_path) as (_, made):
            key = Path(made._upstream.envelope_key)
            key.write_bytes(bytes(32))
            stranger = Backend(made._upstream)
            with pytest.raises(BackendError, match="not signed by our handler") as caught:
                await stranger.ask(DIGITS, REQUEST)
            assert not caught.value.again
            await stranger.close()

    run(scene())
