"""The data plane: a question in, its outcome out, one access record in between. No protocol here.

    admit → queue → join a call → TorchServe → cut → record → answer

A question is closed exactly once: answered, refused, expired, cancelled or failed. Its record is
written before its answer is given.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence

from gateway.config import MIB, GatewayConfig
from gateway.finished import Finished, Telemetry
from gateway.outcome import Outcome
from gateway.plane.admission import Admission
from gateway.plane.backend import Backend
from gateway.plane.batcher import Batcher
from gateway.plane.catalogue import Catalogue
from gateway.plane.courier import RETRY_AFTER_S, End
from gateway.plane.pending import Pending
from gateway.plane.statistics import Statistics
from gateway.question import Arrival, Question
from gateway.refusal import Code, Refusal
from gateway.upstream import ServedVersion, Upstream
from monitoring.request_log import LogFullError
from torchkeep.schema import Operation

logger = logging.getLogger(__name__)

CANCEL_LEAD_S = 0.01
"""How much before a deadline a cancellation is taken for it."""
UNREADY_UNLOGGED_S = 5.0
"""How long a request that could not be logged, and so not answered, shows in readiness."""

LEAVING = "the gateway is shutting down; try again elsewhere"
DOWN = "the model server is starting again; try again"
LATE = "the deadline had passed before an answer was there"
GONE = "the caller went away"
UNLOGGED = "the request cannot be logged, and nothing is answered without a record"


class DataPlane:
    """What both protocols stand on."""

    def __init__(
        self, upstream: Upstream, config: GatewayConfig, backend: Backend, telemetry: Telemetry
    ) -> None:
        self.upstream = upstream
        self.config = config
        self.draining = False
        self._unlogged_at = float("-inf")
        self.admission = Admission(
            most_items=config.max_queued_items, most_bytes=config.max_queued_mib * MIB
        )
        self._catalogue = Catalogue(upstream.models)
        self._backend = backend
        self._telemetry = telemetry
        self._batchers = {
            served.key: Batcher(served, config, backend, self._close) for served in upstream.models
        }
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[Pending] = set()

    def start(self) -> None:
        """Begin to watch TorchServe and the models."""
        self._spawn(self._backend.watch())
        for batcher in self._batchers.values():
            self._spawn(batcher.readiness.watch())

    def find(self, model: str, version: str = "") -> ServedVersion:
        """Return what serves a model. Raises `Refusal` NOT_FOUND."""
        return self._catalogue.find(model, version)

    def versions(self, model: str) -> list[ServedVersion]:
        """Return all served versions of a model. Raises `Refusal` NOT_FOUND."""
        return self._catalogue.versions(model)

    def ready(self) -> bool:
        """Whether each default version answers, and the gateway takes new work and can log it."""
        defaults = {served.name: served for served in reversed(self.upstream.models)}
        logs = time.monotonic() - self._unlogged_at > UNREADY_UNLOGGED_S
        return not self.draining and logs and all(map(self.version_ready, defaults.values()))

    def version_ready(self, served: ServedVersion) -> bool:
        """Whether a version answers."""
        return self._batchers[served.key].readiness.ready

    def statistics(self, served: ServedVersion) -> Statistics:
        """Return the totals of a version."""
        return self._batchers[served.key].statistics

    @property
    def waiting(self) -> int:
        """Items that no call has taken yet."""
        return sum(batcher.waiting for batcher in self._batchers.values())

    @property
    def calls(self) -> int:
        """Calls under way."""
        return sum(batcher.calls for batcher in self._batchers.values())

    @property
    def items_under_way(self) -> int:
        """Items of those calls."""
        return sum(batcher.items_under_way for batcher in self._batchers.values())

    async def infer(self, question: Question) -> Outcome:
        """Have a question answered.

        Raises `Refusal` if it is not. A caller that goes away cancels this coroutine; what no call
        has taken by then is dropped.
        """
        self._telemetry.begin(question.arrival)
        try:
            pending = self._admit(question)
        except Refusal as refusal:
            raise await self.refuse(question.arrival, refusal) from refusal
        loop = asyncio.get_running_loop()
        left = question.deadline - time.monotonic()
        timer = loop.call_later(max(0.0, left), self._expire, pending)
        try:
            return await pending.answer
        except asyncio.CancelledError:
            # gRPC cancels at the deadline, too, and may do so before our timer
            late = time.monotonic() >= question.deadline - CANCEL_LEAD_S
            end = Refusal(Code.EXPIRED, LATE) if late else Refusal(Code.CANCELLED, GONE)
            await self._close([(pending, end)])
            raise
        finally:
            timer.cancel()

    async def refuse(self, arrival: Arrival, refusal: Refusal) -> Refusal:
        """Record a request that is refused before it became a question; return what to answer."""
        if not await self._told([_untouched(arrival, refusal)]):
            return _unlogged()
        return refusal

    async def done(self, arrival: Arrival) -> None:
        """Record a request that was answered without the model. Raises `Refusal`."""
        if not await self._told([_untouched(arrival, None)]):
            raise _unlogged()

    async def drain(self, seconds: float) -> None:
        """Take no new work and wait for what is open; what is still open then is refused."""
        self.draining = True
        deadline = time.monotonic() + seconds
        while self._open and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        leaving = Refusal(Code.UNAVAILABLE, LEAVING, retry_after_s=RETRY_AFTER_S)
        await self._close([(pending, leaving) for pending in self._open])

    async def stop(self) -> None:
        """End all tasks; nothing is answered any more."""
        for batcher in self._batchers.values():
            await batcher.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _admit(self, question: Question) -> Pending:
        served = self._catalogue.find(question.model, question.version)
        batcher = self._batchers[served.key]
        arrival = question.arrival
        arrival.items = len(question)
        arrival.operation = question.operation
        arrival.model, arrival.version = served.name, served.version
        _check_size(question, served)
        if self.draining:
            raise Refusal(Code.UNAVAILABLE, LEAVING, retry_after_s=RETRY_AFTER_S)
        if not self._backend.connected:
            raise Refusal(Code.UNAVAILABLE, DOWN, retry_after_s=RETRY_AFTER_S)
        nbytes = question.nbytes
        waits = batcher.rate.wait_s(batcher.waiting + batcher.items_under_way)
        self.admission.enter(question.principal.client, arrival.items, nbytes, waits)
        answer = asyncio.get_running_loop().create_future()
        pending = Pending(question, served, answer, arrival.items, nbytes)
        self._open.add(pending)
        batcher.add(pending)
        return pending

    def _expire(self, pending: Pending) -> None:
        self._spawn(self._close([(pending, Refusal(Code.EXPIRED, LATE))]))

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self, ends: Sequence[End]) -> None:
        """Give questions their terminal status: first the record, then the answer."""
        ends = [(pending, end) for pending, end in ends if self._leave(pending)]
        finished = [_closed(pending, end) for pending, end in ends]
        logged = False
        try:
            logged = await self._told(finished)
        finally:
            for (pending, end), request in zip(ends, finished, strict=True):
                self._answer(pending, end if logged else _unlogged())
                if logged:
                    self._batchers[pending.served.key].statistics.finish(request)

    def _leave(self, pending: Pending) -> bool:
        """Take a question out of the books; return whether it was still in them."""
        if pending.closed:
            return False
        pending.closed = True
        if pending.left:
            self._batchers[pending.served.key].drop(pending)
        self.admission.leave(pending.question.principal.client, pending.items, pending.nbytes)
        return True

    def _answer(self, pending: Pending, end: Outcome | Refusal) -> None:
        self._open.discard(pending)
        if pending.answer.done():  # its caller is gone
            return
        if isinstance(end, Refusal):
            pending.answer.set_exception(end)
        else:
            pending.answer.set_result(end)

    async def _told(self, requests: Sequence[Finished]) -> bool:
        """Tell telemetry; return whether the requests may be answered."""
        if not requests:
            return True
        try:
            await self._telemetry.finished(requests)
        except LogFullError:  # the log has said so, and not once for each request
            self._unlogged_at = time.monotonic()
            return False
        except Exception:
            logger.exception("%d requests could not be recorded", len(requests))
            return False
        return True


def _check_size(question: Question, served: ServedVersion) -> None:
    explain = question.operation is Operation.EXPLAIN
    most = served.max_explain_items if explain else served.max_items
    items = question.arrival.items
    if not items:
        raise Refusal(Code.INVALID, "the request has no items")
    if explain and not most:
        raise Refusal(Code.UNIMPLEMENTED, "explanations are switched off")
    if items > most:
        what = "items to explain" if explain else "items"
        raise Refusal(Code.TOO_LARGE, f"the request has {items} {what}; at most {most} are taken")


def _untouched(arrival: Arrival, refusal: Refusal | None) -> Finished:
    """Return the end of a request that never was a question."""
    return Finished(
        arrival=arrival,
        code=refusal.code if refusal else Code.OK,
        message=refusal.message if refusal else "",
        total_s=time.monotonic() - arrival.received,
    )


def _closed(pending: Pending, end: Outcome | Refusal) -> Finished:
    """Return the end of a question."""
    arrival, now, sent = pending.question.arrival, time.monotonic(), pending.first_sent
    if isinstance(end, Outcome):
        arrival.items = len(end)  # of a body, only now known
    return Finished(
        arrival=arrival,
        code=end.code,
        message=end.message if isinstance(end, Refusal) else "",
        version=pending.served.version,
        verdict=pending.verdict,
        items_ok=pending.items_ok,
        queue_s=(sent or now) - pending.queued,
        backend_s=now - sent if sent else 0.0,
        total_s=now - arrival.received,
        batch_size=pending.batch_size,
        attempt=pending.attempt,
    )


def _unlogged() -> Refusal:
    return Refusal(Code.UNAVAILABLE, UNLOGGED, retry_after_s=RETRY_AFTER_S)
