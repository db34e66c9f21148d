"""The disk of the request log is full: for the gateway, for the worker, under both policies.

The processes under test may write files of no more than what their segments hold already; for them
that is a full disk, and it can be freed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from monitoring.log_reader import Kind, read_records
from tests.gateway.faults.callers import Caller, callers
from tests.gateway.faults.ledger import Ledger, Sent, codes, told
from tests.gateway.served import Images, Served, serving
from torchkeep.artifact import ModelArtifact

pytestmark = pytest.mark.torchserve


@pytest.fixture(scope="module")
def refusing(
    digits_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server that answers nothing that it cannot log."""
    variables = {"TORCHKEEP_REQUEST_LOG_ON_FULL": "refuse"}
    with serving(digits_artifact, tmp_path_factory.mktemp("refusing"), variables) as running:
        yield running


@pytest.fixture
def strict(refusing: Served, images: Images) -> Ledger:
    refusing.until_healthy()
    return Ledger(refusing, images)


@contextmanager
def full_disk(pid: int | None) -> Iterator[None]:
    """Let a process add no byte to any file, as if the disk were full."""
    assert pid is not None
    process = psutil.Process(pid)
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, before)


def ask_before_while_and_after(ledger: Ledger, pid: int | None) -> list[Sent]:
    """Ask before, while and after the disk of a process is full; return what was asked while."""

    async def some(every: list[Caller]) -> list[Sent]:
        asked = [
            (caller, ledger.open(caller.protocol, 5 * number, 1 + number % 3))
            for number, caller in enumerate(every)
        ]
        await asyncio.gather(*(caller.ask(sent) for caller, sent in asked))
        return [sent for _, sent in asked]

    async def scene() -> list[Sent]:
        every = callers(ledger, 10)
        try:
            assert all(sent.answered for sent in await some(every))
            with full_disk(pid):
                meanwhile = await some(every) + await some(every)
            assert all(sent.answered for sent in await some(every))
        finally:
            await asyncio.gather(*(caller.close() for caller in every))
        return meanwhile

    return asyncio.run(scene())


def lost(ledger: Ledger, kind: Kind) -> int:
    """Return how many records the log itself says were lost before others."""
    records = read_records(ledger.served.log, kind=kind)
    return sum(record.get("dropped_before", 0) for record in records)


def test_a_gateway_that_may_answer_counts_what_it_could_not_log(ledger: Ledger) -> None:
    before = lost(ledger, Kind.ACCESS)
    meanwhile = ask_before_while_and_after(ledger, ledger.served.now.pids.gateway)
    assert all(sent.answered for sent in meanwhile)
    records = ledger.settle(unlogged=len(meanwhile))
    assert codes(records) == {"OK"}, told(records)
    assert lost(ledger, Kind.ACCESS) - before == len(meanwhile)


def test_a_worker_that_may_answer_counts_what_it_could_not_log(ledger: Ledger) -> None:
    before = lost(ledger, Kind.INFERENCE)
    meanwhile = ask_before_while_and_after(ledger, ledger.served.now.pids.workers[0])
    assert all(sent.answered for sent in meanwhile)
    items = sum(sent.count for sent in meanwhile)
    records = ledger.settle(uncounted=items)
    assert codes(records) == {"OK"}, told(records)
    assert lost(ledger, Kind.INFERENCE) - before == items


def test_a_gateway_that_may_not_answers_nothing_it_cannot_log(strict: Ledger) -> None:
    before = lost(strict, Kind.ACCESS)
    meanwhile = ask_before_while_and_after(strict, strict.served.now.pids.gateway)
    assert {sent.status for sent in meanwhile} == {503, "UNAVAILABLE"}
    assert all(sent.retry_after is not None and sent.retry_after >= 1 for sent in meanwhile)
    records = strict.settle(unlogged=len(meanwhile))
    assert codes(records) == {"OK"}, told(records)
    assert lost(strict, Kind.ACCESS) - before == len(meanwhile)


def test_a_worker_that_may_not_answers_nothing_it_cannot_log(strict: Ledger) -> None:
    before = lost(strict, Kind.INFERENCE)
    meanwhile = ask_before_while_and_after(strict, strict.served.now.pids.workers[0])
    assert not any("ok" in sent.items for sent in meanwhile)
    single = [sent for sent in meanwhile if sent.count == 1]
    assert {sent.status for sent in single} == {500, "INTERNAL"}
    records = strict.settle()
    assert lost(strict, Kind.INFERENCE) - before == sum(sent.count for sent in meanwhile)
    assert codes(records) == {"OK", "INTERNAL"}, told(records)
