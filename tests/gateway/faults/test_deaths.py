"""Processes that die while callers of both protocols keep asking."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from release.state import Phase
from tests.gateway.faults.callers import Crowd, until
from tests.gateway.faults.ledger import Ledger, codes, told
from tests.gateway.served import Images, Served, serving
from torchkeep.artifact import ModelArtifact

pytestmark = pytest.mark.torchserve

CALLERS = 12
PAUSE_S = 0.01


@pytest.fixture(scope="module")
def served(
    digits_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Two workers, so that one can take over from the other."""
    variables = {"TORCHKEEP_SERVER_WORKERS": "2"}
    with serving(digits_artifact, tmp_path_factory.mktemp("deaths"), variables) as running:
        yield running


@pytest.fixture
def ledger(served: Served, images: Images) -> Ledger:
    served.until_healthy()
    return Ledger(served, images)


def test_a_killed_worker_costs_nobody_an_answer(ledger: Ledger) -> None:
    async def scene() -> None:
        async with Crowd(ledger, CALLERS, seed=1, pause_s=PAUSE_S) as crowd:
            await crowd.until_answered(100)
            os.kill(ledger.served.now.pids.workers[0], signal.SIGKILL)
            await crowd.until_answered(300)

    asyncio.run(scene())
    records = ledger.settle()
    assert codes(records) == {"OK"}, told(records)


def test_a_killed_torchserve_is_back_and_nothing_is_unaccounted_for(ledger: Ledger) -> None:
    async def scene() -> None:
        served = ledger.served
        async with Crowd(ledger, CALLERS, seed=2, pause_s=PAUSE_S) as crowd:
            await crowd.until_answered(100)
            before, killed = served.now, time.monotonic()
            assert before.pids.frontend is not None
            os.kill(before.pids.frontend, signal.SIGKILL)
            await until(lambda: served.now.phase is Phase.RESTARTING, 2)
            async with httpx.AsyncClient() as observer:
                await until(lambda: _unready(observer, served), killed + 2 - time.monotonic())
            await until(lambda: served.now.healthy, 60)
            await crowd.until_answered(100)
            assert served.now.pids.gateway == before.pids.gateway

    asyncio.run(scene())
    records = ledger.settle()  # a slow machine needs longer than a request waits
    assert codes(records) <= {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED"}, told(records)
    refused = [sent for sent in ledger.sent if sent.status in (503, "UNAVAILABLE")]
    assert all(sent.retry_after is not None and sent.retry_after >= 1 for sent in refused)


async def _unready(observer: httpx.AsyncClient, served: Served) -> bool:
    return (await observer.get(f"{served.running.observe}/readyz")).status_code == 503


def test_a_gateway_told_to_end_answers_all_it_has_taken(ledger: Ledger) -> None:
    async def scene() -> None:
        served = ledger.served
        async with Crowd(ledger, CALLERS, seed=3, pause_s=PAUSE_S) as crowd:
            await crowd.until_answered(100)
            before = served.now.pids.gateway
            assert before is not None
            os.kill(before, signal.SIGTERM)
            await until(lambda: served.now.pids.gateway not in (before, None), 30)
            await until(lambda: served.now.healthy, 30)
            await crowd.until_answered(100)
            assert crowd.turned_away > 0

    asyncio.run(scene())
    records = ledger.settle()
    assert codes(records) <= {"OK", "UNAVAILABLE"}, told(records)
