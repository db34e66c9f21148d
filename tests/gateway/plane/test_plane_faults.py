"""The data plane on a bad day: deaths, retries, deadlines, callers who leave, full queues."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.outcome import Outcome
from gateway.plane.backend import BackendError
from gateway.refusal import Code, Refusal
from monitoring.request_log import LogFullError
from tests.gateway.plane.handler_server import (
    RESET,
    STALE_TOKEN,
    WORKER_HUNG,
    WORKER_KILLED,
    Refused,
)
from tests.gateway.plane.house import PATIENCE_S, house, run
from tests.gateway.plane.questions import question
from tests.handlers.conftest import Bench
from torchkeep.schema import Operation

Images = NDArray[np.uint8]


@pytest.mark.parametrize("failure", [WORKER_KILLED, WORKER_HUNG])
def test_a_call_that_a_worker_took_to_its_grave_is_tried_once_more(
    bench: Bench, images: Images, tmp_path: Path, failure: Refused
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            it.server.failures = [failure]
            outcome = await it.plane.infer(question(payload=images))
            assert outcome.code is Code.OK
            assert it.told.requests[0].attempt == 2
            assert {record["attempt"] for record in bench.records()} == {2}
            it.server.failures = [failure, failure]
            refusal = await it.ask(question(payload=images))
            assert isinstance(refusal, Refusal)
            assert (refusal.code, refusal.retry_after_s) == (Code.UNAVAILABLE, 2.0)
            assert refusal.message == "no worker could answer; try again"

    run(scene())


@pytest.mark.parametrize("failure", [RESET, STALE_TOKEN])
def test_where_nobody_listens_it_is_tried_until_somebody_does(
    bench: Bench, images: Images, tmp_path: Path, failure: Refused
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            it.server.failures = [failure] * 4
            assert (await it.plane.infer(question(payload=images))).code is Code.OK
            it.server.failures = [failure] * 1000
            late = await it.ask(question(payload=images, timeout_s=0.5))
            assert isinstance(late, Refusal)
            assert late.code is Code.EXPIRED
            it.server.failures = []

    run(scene())


def test_who_kills_a_worker_takes_no_neighbour_along(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path, calls_per_worker=1) as it:
            it.server.gate.clear()
            first = asyncio.create_task(it.ask(question(payload=images[:1])))
            await it.until(lambda: it.server.calls == [1])
            poison = asyncio.create_task(it.ask(question(payload=images[:1], client="eve")))
            await asyncio.sleep(0)
            clean = asyncio.create_task(it.ask(question(payload=images[:1], client="ben")))
            await it.until(lambda: it.plane.waiting == 2)
            it.server.failures = [None, WORKER_KILLED, WORKER_KILLED]
            it.server.gate.set()
            assert isinstance(await first, Outcome)
            assert isinstance(await poison, Refusal)
            assert isinstance(await clean, Outcome)
            assert it.server.calls == [1, 2, 1, 1]

    run(scene())


def test_a_question_in_two_places_of_a_failed_call_is_closed_once(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path, calls_per_worker=1, max_batch=64) as it:
            it.server.gate.clear()
            first = asyncio.create_task(it.ask(question(payload=images[:1])))
            await it.until(lambda: it.server.calls == [1])
            many = np.repeat(images[:1], 5_000, axis=0)
            big = asyncio.create_task(it.ask(question(payload=many, request_id="big")))
            await asyncio.sleep(0)
            small = asyncio.create_task(it.ask(question(payload=images[:1], client="ben")))
            await it.until(lambda: it.plane.waiting == 5_001)
            it.server.failures = [None, *[WORKER_KILLED] * 3]
            it.server.gate.set()
            await asyncio.gather(first, big, small)
            await it.until(lambda: it.plane.calls == 0)
            assert [name for name, _ in it.answers()].count("big") == 1
            assert (it.plane.admission.items, it.plane.waiting) == (0, 0)
            await asyncio.wait_for(it.plane.drain(PATIENCE_S), 1)

    run(scene())


def test_telemetry_that_fails_leaves_nobody_waiting(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:

            async def broken(requests: Any) -> None:
                raise RuntimeError("no telemetry today")

            it.told.finished = broken  # type: ignore[method-assign]
            refused = await asyncio.wait_for(it.ask(question(payload=images)), 5)
            assert isinstance(refused, Refusal)
            assert refused.code is Code.UNAVAILABLE
            await asyncio.wait_for(it.plane.drain(PATIENCE_S), 1)

    run(scene())


def test_a_fault_of_ours_in_a_second_try_leaves_nobody_waiting(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            faults = [BackendError("its worker died", again=True), ValueError("a fault of ours")]

            async def ask(_: Any, request: Any) -> None:
                probe = request.operation is Operation.PROBE
                raise BackendError("not asked", again=True) if probe else faults.pop(0)

            it.backend.ask = ask  # type: ignore[method-assign]
            refused = await asyncio.wait_for(it.ask(question(payload=images)), 5)
            assert isinstance(refused, Refusal)
            assert refused.code is Code.INTERNAL
            assert it.answers() == [("r", "INTERNAL")]

    run(scene())


def test_what_is_still_open_at_the_end_is_told_so(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            it.server.gate.clear()
            asked = asyncio.create_task(it.ask(question(payload=images)))
            await it.until(lambda: it.server.calls == [4])
            await it.plane.drain(0.1)
            refused = await asked
            assert isinstance(refused, Refusal)
            assert refused.code is Code.UNAVAILABLE
            assert it.answers() == [("r", "UNAVAILABLE")]

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


def test_a_cancellation_at_the_deadline_is_told_as_what_it_is(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            it.server.gate.clear()
            asked = question(payload=images, timeout_s=0.3, request_id="late")
            late = asyncio.create_task(it.ask(asked))
            await it.until(lambda: it.server.calls == [4])
            while time.monotonic() < asked.deadline - 0.005:
                time.sleep(0.001)  # the loop stands still: our own timer cannot fire
            late.cancel()
            with pytest.raises(asyncio.CancelledError):
                await late
            assert it.answers() == [("late", "EXPIRED")]
            it.server.gate.set()

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
            await draining
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
            assert not it.plane.ready()
            await it.until(it.plane.ready)  # a little later it is tried again

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
