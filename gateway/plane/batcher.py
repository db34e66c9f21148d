"""Joining waiting items into calls: at once where a worker is idle, for a bounded time where not.

A worker computes one call at a time; `calls_per_worker` lets the next one wait at its door, so
that it never waits for the gateway. While every worker has a call, items gather: a call leaves when
it is full, when its oldest item has waited `max_wait_ms`, or when a worker has become idle.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from gateway.config import GatewayConfig
from gateway.plane.backend import Backend
from gateway.plane.courier import Courier, End
from gateway.plane.kind import Kind
from gateway.plane.lane import Lane
from gateway.plane.pending import Pending, Share
from gateway.plane.rate import ServiceRate
from gateway.plane.readiness import Readiness
from gateway.plane.statistics import Statistics
from gateway.upstream import ServedVersion
from torchkeep.schema import Operation

Close = Callable[[Sequence[End]], Awaitable[None]]


class Batcher:
    """The lanes of one model version, and the calls it has under way."""

    def __init__(
        self, served: ServedVersion, config: GatewayConfig, backend: Backend, close: Close
    ) -> None:
        self.served = served
        self.readiness = Readiness(served, backend)
        self.rate = ServiceRate()
        self.statistics = Statistics()
        self.calls = 0  # under way
        self.items_under_way = 0
        self._courier = Courier(served, backend, self.readiness, self.rate, self.statistics)
        self._close = close
        self._max_batch = config.max_batch
        self._max_wait_s = config.max_wait_ms / 1000
        self._slots = served.workers * config.calls_per_worker
        self._lanes: dict[Kind, Lane] = {}
        self._turns: deque[Kind] = deque()
        self._pumping = False
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy_since = 0.0

    @property
    def waiting(self) -> int:
        """Items that no call has taken yet; may be asked from any thread."""
        return sum(lane.items for lane in list(self._lanes.values()))

    def add(self, pending: Pending) -> None:
        """Queue a question; what arrives in the same turn of the loop may share a call."""
        kind = Kind.of(pending.question)
        lane = self._lanes.get(kind)
        if lane is None:
            lane = self._lanes[kind] = Lane(kind.most(self.served, self._max_batch))
            self._turns.append(kind)
        lane.add(pending)
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def drop(self, pending: Pending) -> None:
        """Forget what is still waiting of a question."""
        self._lanes[Kind.of(pending.question)].drop(pending)

    def _pump(self) -> None:
        """Start every call that is due."""
        self._pumping = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = time.monotonic()
        due_in = 0.0
        while self.calls < self._slots and not self._stopped:
            kind, due_in = self._next(now)
            if kind is None:
                break
            self._start(kind.operation, self._lanes[kind].take(now), now)
        if 0 < due_in < float("inf") and self.calls < self._slots:
            self._timer = asyncio.get_running_loop().call_later(due_in, self._pump)

    def _next(self, now: float) -> tuple[Kind | None, float]:
        """Return the kind whose call is due, lanes in turn; else in how many seconds one will."""
        soonest = float("inf")
        for _ in range(len(self._turns)):
            kind = self._turns[0]
            self._turns.rotate(-1)
            lane = self._lanes[kind]
            if not lane.items:
                continue
            idle = self.calls < self.served.workers
            due_in = lane.oldest + self._max_wait_s - now
            if idle or lane.items >= lane.most or due_in <= 0:
                return kind, 0.0
            soonest = min(soonest, due_in)
        return None, soonest

    def _start(self, operation: Operation, shares: list[Share], now: float) -> None:
        if not self.calls:
            self._busy_since = now
        items = sum(share.count for share in shares)
        self.calls += 1
        self.items_under_way += items
        task = asyncio.get_running_loop().create_task(self._carry(operation, shares, items))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, operation: Operation, shares: list[Share], items: int) -> None:
        """Have one call answered, and close what is complete with it."""
        try:
            ends = await self._courier.carry(operation, shares)
        finally:
            now = time.monotonic()
            self.rate.busy(now - self._busy_since)
            self._busy_since = now
            self.calls -= 1
            self.items_under_way -= items
            self._pump()
        await self._close(ends)

    async def stop(self) -> None:
        """End what is under way; nothing is answered any more."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
