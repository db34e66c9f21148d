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
from dataclasses import dataclass

import numpy as np

from gateway.config import MIB, GatewayConfig
from gateway.outcome import Outcome
from gateway.plane.answers import Columns, whole
from gateway.plane.backend import Backend, BackendError
from gateway.plane.call import request_envelope
from gateway.plane.lane import Lane
from gateway.plane.pending import Pending, Share
from gateway.plane.rate import ServiceRate
from gateway.plane.readiness import Readiness
from gateway.plane.statistics import Statistics
from gateway.question import Question
from gateway.refusal import Code, Refusal
from gateway.upstream import ServedVersion
from torchkeep.envelope import BodyPayload
from torchkeep.schema import Operation

CALL_BYTES = 16 * MIB
_SIZE_CLASSES = (64 * 1024, MIB, CALL_BYTES)
"""Encoded images of like size share calls: a photograph does not hold up a thumbnail."""
NOBODY = "no worker could answer ({}); try again"
RETRY_AFTER_S = 2.0
MOST_ATTEMPTS = 5
PAUSE_S = 0.1
"""Before another attempt: a channel may not know yet that nobody listens any more."""

End = tuple[Pending, Outcome | Refusal]
Close = Callable[[Sequence[End]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Kind:
    """What the items of one call have in common."""

    operation: Operation
    payload: str  # a dtype, the size class of encoded images, or "body"

    @classmethod
    def of(cls, question: Question) -> Kind:
        """Return the kind of a question."""
        payload = question.payload
        if isinstance(payload, np.ndarray):
            return cls(question.operation, payload.dtype.str)
        if isinstance(payload, BodyPayload):
            return cls(question.operation, "body")
        largest = max(map(len, payload))
        size = next((size for size in _SIZE_CLASSES if largest <= size), largest)
        return cls(question.operation, f"encoded {size}")


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
        self._config = config
        self._backend = backend
        self._close = close
        self._lanes: dict[Kind, Lane] = {}
        self._turns: deque[Kind] = deque()
        self._slots = served.workers * config.calls_per_worker
        self._max_wait_s = config.max_wait_ms / 1000
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy_since = 0.0

    @property
    def waiting(self) -> int:
        """Items that no call has taken yet."""
        return sum(lane.items for lane in self._lanes.values())

    def add(self, pending: Pending) -> None:
        """Queue a question; what arrives in the same turn of the loop may share a call."""
        kind = Kind.of(pending.question)
        lane = self._lanes.get(kind)
        if lane is None:
            lane = self._lanes[kind] = Lane(self._most(kind, pending))
            self._turns.append(kind)
        lane.add(pending)
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def drop(self, pending: Pending) -> None:
        """Forget what is still waiting of a closed question."""
        if lane := self._lanes.get(Kind.of(pending.question)):
            lane.drop(pending)

    def _most(self, kind: Kind, pending: Pending) -> int:
        """Return how many items of a kind a call may hold."""
        if kind.payload == "body":
            return 1
        most = min(self._config.max_batch, self.served.max_forward_batch)
        if kind.operation is Operation.EXPLAIN:
            most = min(most, max(1, self.served.max_explain_items))
        payload = pending.question.payload
        if isinstance(payload, np.ndarray):
            size = int(payload[0].nbytes)
        else:
            size = int(kind.payload.rpartition(" ")[2])
        return max(1, min(most, CALL_BYTES // size))

    def _pump(self) -> None:
        """Start every call that is due."""
        self._pumping = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = time.monotonic()
        due_in = 0.0
        while self.calls < self._slots:
            kind, due_in = self._next(now)
            if kind is None:
                break
            if shares := self._lanes[kind].take(now):
                self._start(kind.operation, shares, now)
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
        """Take one call to TorchServe and back, and close what is complete with it."""
        try:
            ends = await self._answered(operation, shares)
        finally:
            now = time.monotonic()
            self.rate.add(items, now - self._busy_since)
            self._busy_since = now
            self.calls -= 1
            self.items_under_way -= items
            self._pump()
        await self._close(ends)

    async def _answered(self, operation: Operation, shares: list[Share]) -> list[End]:
        started = time.monotonic()
        try:
            columns = await self._ask(operation, shares)
        except BackendError as error:
            refusal = _refusal(error)
            return [(share.pending, refusal) for share in shares]
        self.readiness.succeeded(time.monotonic() - started)
        self.statistics.execute(len(columns))
        return _ends(shares, columns)

    async def _ask(self, operation: Operation, shares: list[Share]) -> Columns:
        """Ask; where a worker failed once more, where nobody listens until somebody does.

        All within the deadlines; questions that were closed meanwhile are not asked again.
        """
        attempt = 1
        while True:
            try:
                return await self._once(operation, shares, attempt)
            except BackendError as error:
                self.readiness.failed()
                shares[:] = [share for share in shares if not share.pending.closed]
                most = MOST_ATTEMPTS if error.unreachable else 2
                if not (error.again and shares and attempt < most):
                    raise
            await asyncio.sleep(PAUSE_S)
            await self._backend.until_connected(_time_left(shares))
            attempt += 1

    async def _once(self, operation: Operation, shares: list[Share], attempt: int) -> Columns:
        for share in shares:
            share.pending.attempt = max(attempt, share.pending.attempt)
        request = request_envelope(operation, shares, attempt)
        columns = Columns(await self._backend.ask(self.served, request))
        expected = sum(share.count for share in shares)
        if len(columns) != expected and not _is_body(shares):
            raise BackendError(f"{len(columns)} answers for {expected} items", again=False)
        return columns

    async def stop(self) -> None:
        """End what is under way; nothing is answered any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _ends(shares: Sequence[Share], columns: Columns) -> list[End]:
    """Give each share its part of the answer; return the questions that are complete with it."""
    ends: list[End] = []
    place, size = 0, len(columns)
    body = _is_body(shares)
    for share in shares:
        pending = share.pending
        count = size if body else share.count
        pending.judge(*columns.known(place, count), size)
        part = columns.cut(place, count, pending.question.arrival.request_id)
        place += count
        pending.answered += share.count
        if share.count == pending.items:
            ends.append((pending, part))
            continue
        pending.parts.append((share.start, part))
        if pending.answered == pending.items and not pending.closed:
            ends.append((pending, whole(pending)))
    return ends


def _is_body(shares: Sequence[Share]) -> bool:
    return isinstance(shares[0].pending.question.payload, BodyPayload)


def _time_left(shares: Sequence[Share]) -> float:
    """Return how long the most patient of the questions waits, in seconds."""
    last = max(share.pending.question.deadline for share in shares)
    return max(0.001, last - time.monotonic())


def _refusal(error: BackendError) -> Refusal:
    if error.too_large:
        return Refusal(Code.TOO_LARGE, "the item is larger than the model server takes")
    if error.again:
        return Refusal(Code.UNAVAILABLE, NOBODY.format(error), retry_after_s=RETRY_AFTER_S)
    return Refusal(Code.INTERNAL, f"the model server failed: {error}")
