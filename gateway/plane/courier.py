"""Taking calls to TorchServe and back, through the deaths of workers and of TorchServe itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from gateway.outcome import Outcome
from gateway.plane.answers import Columns, whole
from gateway.plane.backend import Backend, BackendError
from gateway.plane.call import request_envelope
from gateway.plane.pending import Pending, Share
from gateway.plane.rate import ServiceRate
from gateway.plane.readiness import Readiness
from gateway.plane.statistics import Statistics
from gateway.refusal import Code, Refusal
from gateway.upstream import ServedVersion
from torchkeep.envelope import BodyPayload
from torchkeep.schema import Operation

logger = logging.getLogger(__name__)

NOBODY = "no worker could answer; try again"
TOO_LARGE = "the item is larger than the model server takes"
FAILED = "the model server failed on this request"
RETRY_AFTER_S = 2.0
PAUSE_S = 0.1
"""Before another attempt: it may not be known yet that nobody listens any more."""
MOST_ATTEMPTS = 200

End = tuple[Pending, Outcome | Refusal]


class Courier:
    """Of one model version."""

    def __init__(
        self,
        served: ServedVersion,
        backend: Backend,
        readiness: Readiness,
        rate: ServiceRate,
        totals: Statistics,
    ) -> None:
        self._served = served
        self._backend = backend
        self._readiness = readiness
        self._rate = rate
        self._totals = totals

    async def carry(self, operation: Operation, shares: list[Share]) -> list[End]:
        """Return the questions that are complete with this call, or failed with it."""
        try:
            return await self._carried(operation, shares)
        except Exception:  # whatever it was, nobody is left waiting for it
            logger.exception("a call to %s failed", self._served.name)
            return [(share.pending, Refusal(Code.INTERNAL, FAILED)) for share in shares]

    async def _carried(self, operation: Operation, shares: list[Share]) -> list[End]:
        try:
            return await self._once(operation, shares, attempt=1)
        except BackendError as error:
            self._readiness.failed()
            logger.warning("a call to %s failed: %s", self._served.name, error)
            if not error.again:
                return _failed(shares, error)
        ends: list[End] = []
        for group in _by_client(shares):  # whose items killed a worker kills no neighbour's call
            ends += await self._again(operation, group)
        return ends

    async def _again(self, operation: Operation, shares: list[Share]) -> list[End]:
        """Ask once more and, as long as nobody listens, until somebody does or nobody waits."""
        attempt = 2
        while True:
            await asyncio.sleep(PAUSE_S)
            shares = [share for share in shares if not share.pending.closed]
            if not shares:
                return []
            await self._backend.until_connected(_time_left(shares))
            try:
                return await self._once(operation, shares, attempt)
            except BackendError as error:
                self._readiness.failed()
                if not (error.unreachable and attempt < MOST_ATTEMPTS):
                    return _failed(shares, error)
            attempt += 1

    async def _once(self, operation: Operation, shares: list[Share], attempt: int) -> list[End]:
        for share in shares:
            share.pending.attempt = max(attempt, share.pending.attempt)
        started = time.monotonic()
        request = request_envelope(operation, shares, attempt)
        columns = Columns(await self._backend.ask(self._served, request))
        expected = sum(share.count for share in shares)
        if len(columns) != expected and not _is_body(shares):
            raise BackendError(f"{len(columns)} answers for {expected} items", again=False)
        self._readiness.succeeded(time.monotonic() - started)
        self._rate.served(len(columns))
        self._totals.execute(len(columns))
        return _ends(shares, columns)


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


def _failed(shares: Sequence[Share], error: BackendError) -> list[End]:
    refusal = Refusal(Code.INTERNAL, FAILED)
    if error.too_large:
        refusal = Refusal(Code.TOO_LARGE, TOO_LARGE)
    elif error.again:
        refusal = Refusal(Code.UNAVAILABLE, NOBODY, retry_after_s=RETRY_AFTER_S)
    return [(share.pending, refusal) for share in shares]


def _by_client(shares: Sequence[Share]) -> list[list[Share]]:
    groups: dict[str, list[Share]] = {}
    for share in shares:
        groups.setdefault(share.pending.question.principal.client, []).append(share)
    return list(groups.values())


def _is_body(shares: Sequence[Share]) -> bool:
    return isinstance(shares[0].pending.question.payload, BodyPayload)


def _time_left(shares: Sequence[Share]) -> float:
    """Return how long the most patient of the questions waits, in seconds."""
    last = max(share.pending.question.deadline for share in shares)
    return max(0.001, last - time.monotonic())
