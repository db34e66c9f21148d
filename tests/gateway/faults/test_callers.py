"""Callers in crowds and bursts, callers who go away, and callers who send slowly or half."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import httpx
import pytest
from grpc import aio

from tests.gateway.faults.callers import (
    Caller,
    Crowd,
    RawCaller,
    callers,
    until,
)
from tests.gateway.faults.conftest import BODY_S, HEADER_S
from tests.gateway.faults.ledger import LEFT, Ledger, codes, told

pytestmark = pytest.mark.torchserve

MANY = 500
SLOW = 40


async def close(every: list[Caller]) -> None:
    await asyncio.gather(*(caller.close() for caller in every))


async def nothing_waits(ledger: Ledger) -> None:
    """Wait until the gateway holds no work: what was let go of must not stay in its queue."""
    names = ("queued_items", "queued_bytes", "calls_in_flight", "items_in_flight")
    pattern = re.compile(rf"^torchkeep_(?:{'|'.join(names)}) (\S+)$", re.MULTILINE)
    async with httpx.AsyncClient(base_url=ledger.served.running.observe) as observer:

        async def holds_nothing() -> bool:
            found = pattern.findall((await observer.get("/metrics")).text)
            assert len(found) == len(names)
            return not any(map(float, found))

        await until(holds_nothing, 10)


def test_500_callers_at_once_are_all_answered(ledger: Ledger) -> None:
    async def scene() -> None:
        every = callers(ledger, MANY, share_of_grpc=0.2)
        try:
            for turn in range(2):
                asked = [
                    (caller, ledger.open(caller.protocol, 7 * number + turn, 1))
                    for number, caller in enumerate(every)
                ]
                await asyncio.gather(*(caller.ask(sent) for caller, sent in asked))
            await nothing_waits(ledger)
        finally:
            await close(every)

    asyncio.run(scene())
    records = ledger.settle()
    assert len(records) == 2 * MANY
    assert codes(records) == {"OK"}, told(records)
    assert max(record["batch_size"] for record in records) > 8


def test_a_burst_beyond_the_queue_is_refused_in_part_and_forgotten(ledger: Ledger) -> None:
    """Tenfold, and 100 items each: as many as fit are answered, the others told when to ask."""

    async def ask_all(every: list[Caller]) -> int:
        """Have each ask once, all at the same time; return how many were answered."""
        asked = [(caller, ledger.open(caller.protocol, 0, 100)) for caller in every]
        await asyncio.gather(*(caller.ask(sent) for caller, sent in asked))
        return sum(sent.answered for _, sent in asked)

    async def scene() -> None:
        every = callers(ledger, 80)
        usual = every[36:44]
        try:
            for _ in range(3):
                assert await ask_all(usual) == len(usual)
            assert len(usual) < await ask_all(every) < len(every)
            await nothing_waits(ledger)
            for _ in range(3):
                assert await ask_all(usual) == len(usual)
        finally:
            await close(every)

    asyncio.run(scene())
    records = ledger.settle()
    assert codes(records) == {"OK", "RESOURCE_EXHAUSTED"}, told(records)
    refused = [sent for sent in ledger.sent if not sent.answered]
    assert {sent.status for sent in refused} == {429, "RESOURCE_EXHAUSTED"}
    assert all(sent.retry_after is not None and 1 <= sent.retry_after <= 60 for sent in refused)


def test_callers_who_go_away_are_recorded_and_leave_nothing(ledger: Ledger) -> None:
    rng = random.Random(5)

    async def over_http() -> None:
        caller = RawCaller(ledger, rng.randrange(90))
        await caller.send(caller.head + caller.body)
        await asyncio.sleep(rng.uniform(0, 0.02))
        caller.writer.close()

    async def over_grpc(caller: Caller) -> None:
        sent = ledger.open(caller.protocol, rng.randrange(90), 1)
        try:
            async with asyncio.timeout(rng.uniform(0, 0.1)):
                await caller.ask(sent)
        except TimeoutError:
            sent.status = LEFT

    async def scene() -> None:
        every = callers(ledger, 20, share_of_grpc=1)
        async with Crowd(ledger, 4, seed=6) as crowd:
            for _ in range(4):
                await asyncio.gather(
                    *(over_http() for _ in range(20)), *(over_grpc(caller) for caller in every)
                )
            await crowd.until_answered(20)
        await nothing_waits(ledger)
        await close(every)

    asyncio.run(scene())
    assert sum(sent.doubtful for sent in ledger.sent) > 10
    records = ledger.settle()
    assert codes(records) == {"OK", "CANCELLED"}, told(records)


def test_who_sends_slowly_is_cut_off_and_holds_nobody_up(ledger: Ledger) -> None:
    async def slow_head() -> None:
        caller = RawCaller(ledger)
        ledger.strike(caller.sent)  # its id never arrives
        await caller.send(b"")
        reply, _ = await asyncio.gather(caller.reply(), caller.drip(caller.head, 0.1))
        assert reply.startswith(b"HTTP/1.1 408 ")

    async def slow_body() -> None:
        caller = RawCaller(ledger)
        await caller.send(caller.head)
        await asyncio.gather(caller.note_reply(), caller.drip(caller.body, 0.1))

    async def scene() -> None:
        async with Crowd(ledger, 6, seed=7) as crowd:
            async with asyncio.timeout(max(HEADER_S, BODY_S) + 5), asyncio.TaskGroup() as slow:
                for _ in range(SLOW):
                    slow.create_task(slow_head())
                    slow.create_task(slow_body())
                for _ in range(SLOW // 4):
                    slow.create_task(slow_call(ledger))
                    slow.create_task(slow_greeting(ledger))
            await crowd.until_answered(20)
        await nothing_waits(ledger)

    asyncio.run(scene())
    records = ledger.settle()
    assert codes(records) <= {"OK", "CANCELLED", "RESOURCE_EXHAUSTED"}, told(records)
    cut_off = [sent.status for sent in ledger.sent if not sent.answered]
    assert set(cut_off) <= {408, 429, "CANCELLED", "RESOURCE_EXHAUSTED"}
    assert len(cut_off) == SLOW + SLOW // 4  # and of the others nobody


async def slow_call(ledger: Ledger) -> None:
    """Begin an RPC and never send its message."""
    sent = ledger.open("grpc", 3, 1)
    async with aio.insecure_channel(ledger.served.grpc_target) as channel:
        method: Any = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        metadata = (
            ("authorization", f"Bearer {ledger.served.key}"),
            ("x-request-id", sent.request_id),
        )
        sent.status = (await method(metadata=metadata).code()).name


async def slow_greeting(ledger: Ledger) -> None:
    """Send the gRPC port the first half of HTTP/2's greeting."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ledger.served.grpc_port)
    writer.write(b"PRI * HTTP/2.0")
    await reader.read()
    writer.close()


def test_half_closed_sockets_end_in_one_record(ledger: Ledger) -> None:
    """A caller that closes its side has gone away, be its request whole or half."""

    async def half(share: float) -> None:
        caller = RawCaller(ledger, 3)
        await caller.send(caller.head + caller.body[: int(len(caller.body) * share)])
        caller.writer.write_eof()
        await caller.note_reply()

    async def scene() -> None:
        async with Crowd(ledger, 4, seed=8) as crowd:
            await asyncio.gather(*(half(share) for share in (0, 0.5, 1) for _ in range(20)))
            await crowd.until_answered(20)
        await nothing_waits(ledger)

    asyncio.run(scene())
    records = ledger.settle()
    assert codes(records) == {"OK", "CANCELLED"}, told(records)
