"""What the process says on stderr stays small."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from gateway.telemetry import process_log
from gateway.telemetry.process_log import MOST, PERIOD_S


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Set the log up, and leave the loggers as they were."""
    told = io.StringIO()
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, ("uvicorn.error", "asyncio"))]
    levels, handlers = [logger.level for logger in loggers], root.handlers[:]
    root.handlers.clear()  # or they would be closed
    monkeypatch.setattr("sys.stderr", told)
    process_log.set_up()
    yield told
    root.handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def test_one_handler_writes_warnings_and_errors(said: io.StringIO) -> None:
    logger = logging.getLogger("gateway.somewhere")
    logger.info("nothing")
    logger.warning("the disk is %s", "full")
    (line,) = said.getvalue().splitlines()
    assert line.endswith("WARNING gateway.somewhere: the disk is full")


def test_what_callers_cause_is_not_written(said: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").warning("Exceeded concurrency limit.")
    logging.getLogger("asyncio").warning("socket.send() raised exception.")
    assert said.getvalue() == ""


def test_a_place_that_writes_for_every_request_is_cut_short(
    said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(process_log, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def write(number: int) -> None:
        logging.getLogger("x").error("request %d failed", number)

    for number in range(1000):
        write(number)
    logging.getLogger("x").error("another place has lines of its own")
    assert len(said.getvalue().splitlines()) == MOST + 1
    now[0] += PERIOD_S
    write(1000)
    write(1001)
    one, other = said.getvalue().splitlines()[-2:]
    assert one.endswith("request 1000 failed (990 more were left out)")
    assert other.endswith("request 1001 failed")


def test_the_loop_s_own_complaints_are_bounded_too(said: io.StringIO) -> None:
    async def complain() -> None:
        for number in range(100):
            context = {"message": f"accept {number} failed"}
            asyncio.get_running_loop().call_exception_handler(context)

    asyncio.run(complain())
    assert len(said.getvalue().splitlines()) == MOST
