"""The data plane on a bad day: deaths, retries, deadlines, callers who leave, full queues."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.outcome import Outcome
from gateway.plane.batcher import MOST_ATTEMPTS
from gateway.refusal import Code, Refusal
from monitoring.request_log import LogFullError
from tests.gateway.plane.house import PATIENCE_S, house, run
from tests.gateway.plane.questions import question
from tests.handlers.conftest import Bench

Images = NDArray[np.uint8]


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # TorchServe's, when a worker is killed
    ],
)
def test_a_call_that_a_worker_took_to_its_grave_is_tried_once_more(
    bench: Bench, images: Images, tmp_path: Path, code: grpc.StatusCode
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            it.server.failures = [code]
            outcome = await it.plane.infer(question(payload=images))
            assert outcome.code is Code.OK
            assert it.told.requests[0].attempt == 2
            assert {record["attempt"] for record in bench.records()} == {2}
            it.server.failures = [code] * MOST_ATTEMPTS
            refusal = await it.ask(question(payload=images))
            assert isinstance(refusal, Refusal)
            assert (refusal.code, refusal.retry_after_s) == (Code.UNAVAILABLE, 2.0)

    run(scene())


def test_a_server_that_comes_back_answers_what_had_been_let_in(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            it.server.gate.clear()
            asked = asyncio.create_task(it.ask(question(payload=images, request_id="early")))
            await it.until(lambda: it.server.calls == [4])
            await it.server.stop()
            await it.until(lambda: not it.plane.ready())
            refused = await it.ask(question(payload=images, request_id="late"))
            assert isinstance(refused, Refusal)
            assert refused.code is Code.UNAVAILABLE
            it.server.gate = asyncio.Event()
            it.server.gate.set()
            it.server.token = "another"  # noqa: S105
            await it.server.start()
            outcome = await asked
            assert isinstance(outcome, Outcome)
            assert sorted(it.answers()) == [("early", "OK"), ("late", "UNAVAILABLE")]
            await it.until(it.plane.ready)

    run(scene())


def test_a_renewed_token_costs_nobody_an_answer(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            it.server.token = "renewed"  # noqa: S105
            it.server.tell_token()
            assert (await it.plane.infer(question(payload=images))).code is Code.OK
            assert it.told.requests[0].attempt == 1

    run(scene())


def test_what_expires_while_it_waits_is_never_served(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path, calls_per_worker=1) as it:
            it.server.gate.clear()
            first = asyncio.create_task(it.ask(question(payload=images[:1])))
            await it.until(lambda: it.server.calls == [1])
            late = await it.ask(question(payload=images, timeout_s=0.05, request_id="late"))
            assert isinstance(late, Refusal)
            assert late.code is Code.EXPIRED
            assert it.plane.waiting == 0
            it.server.gate.set()
            await first
            await asyncio.sleep(0.05)
            assert it.server.calls == [1]
            assert ("late", "EXPIRED") in it.answers()
            assert len(it.told.requests) == 2

    run(scene())


def test_a_caller_that_goes_away_leaves_one_record_and_no_work(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path, calls_per_worker=1) as it:
            it.server.gate.clear()
            first = asyncio.create_task(it.ask(question(payload=images[:1])))
            await it.until(lambda: it.server.calls == [1])
            gone = asyncio.create_task(it.ask(question(payload=images, request_id="gone")))
            await it.until(lambda: it.plane.waiting == 4)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            it.server.gate.set()
            await first
            assert it.server.calls == [1]
            assert it.answers() == [("gone", "CANCELLED"), ("r", "OK")]
            assert (it.plane.admission.items, it.plane.admission.bytes) == (0, 0)

    run(scene())


def test_a_full_queue_refuses_with_a_time_to_come_back(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path, max_queued_items=8, calls_per_worker=1) as it:
            it.server.gate.clear()
            held = [asyncio.create_task(it.ask(question(payload=images[:1]))) for _ in range(4)]
            await asyncio.sleep(0.02)
            refused = await it.ask(question(payload=images[:1]))
            assert isinstance(refused, Refusal)
            assert refused.code is Code.BUSY
            assert refused.retry_after_s is not None
            assert refused.retry_after_s >= 1
            other = asyncio.create_task(it.ask(question(payload=images[:1], client="ben")))
            await asyncio.sleep(0.02)
            it.server.gate.set()
            assert all(isinstance(one, Outcome) for one in await asyncio.gather(*held, other))
            assert [code for _, code in it.answers()].count("BUSY") == 1
            assert len(it.told.requests) == 6

    run(scene())


def test_draining_answers_what_is_open_and_takes_nothing_new(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            it.server.gate.clear()
            open_ = [asyncio.create_task(it.ask(question(payload=images))) for _ in range(5)]
            await asyncio.sleep(0.02)
            draining = asyncio.create_task(it.plane.drain(PATIENCE_S))
            await asyncio.sleep(0.02)
            assert not it.plane.ready()
            late = await it.ask(question(payload=images))
            assert isinstance(late, Refusal)
            assert late.code is Code.UNAVAILABLE
            it.server.gate.set()
            assert await draining
            assert all(one.done() and isinstance(one.result(), Outcome) for one in open_)

    run(scene())


def test_without_a_record_there_is_no_answer(bench: Bench, images: Images, tmp_path: Path) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:

            async def full(requests: Any) -> None:
                raise LogFullError("no space left")

            it.told.finished = full  # type: ignore[method-assign]
            refused = await it.ask(question(payload=images))
            assert isinstance(refused, Refusal)
            assert (refused.code, refused.message) == (
                Code.UNAVAILABLE,
                "the request cannot be logged, and nothing is answered without a record",
            )
            unknown = await it.ask(question(payload=images, model="nobody"))
            assert isinstance(unknown, Refusal)
            assert unknown.code is Code.UNAVAILABLE

    run(scene())


def test_probes_leave_no_record_and_show_a_death(bench: Bench, tmp_path: Path) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            await asyncio.sleep(1.2)
            assert it.plane.ready()
            assert bench.records() == []
            await it.server.stop()
            died = time.monotonic()
            await it.until(lambda: not it.plane.ready())
            assert time.monotonic() - died < 2.0

    run(scene())


def test_a_worker_that_hangs_is_not_ready_for_long(bench: Bench, tmp_path: Path) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            it.server.gate.clear()
            hung = time.monotonic()
            await it.until(lambda: not it.plane.ready())
            assert time.monotonic() - hung < 3.0

    run(scene())
