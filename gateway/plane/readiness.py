"""Whether a model answers: real answers show it, and where there are none, a synthetic one.

The handler takes a black image through the whole forward pass and logs nothing.
"""

from __future__ import annotations

import asyncio
import time

from gateway.plane.backend import Backend, BackendError
from gateway.plane.call import probe_envelope
from gateway.upstream import ServedVersion
from torchkeep.ids import new_id
from torchkeep.schema import ItemStatus

LOOK_EVERY_S = 0.2
PROBE_AFTER_S = 0.5  # without an answer
SECOND_CHANCE_S = 1.0
"""How soon after a failure an answer must follow."""
STALE_S = 1.5
"""How old the last answer may be, for a model that answers at once."""
MOST_STALE_S = 60.0
_ANSWERED = frozenset({ItemStatus.OK, ItemStatus.REJECTED})


class Readiness:
    """Of one model version."""

    def __init__(self, served: ServedVersion, backend: Backend) -> None:
        self._served = served
        self._backend = backend
        self._last = float("-inf")
        self._took_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether it answered lately; slow models are given longer."""
        return self._backend.connected and time.monotonic() - self._last < self._stale_s

    @property
    def _stale_s(self) -> float:
        return min(MOST_STALE_S, STALE_S + 2 * self._took_s)

    def succeeded(self, took_s: float) -> None:
        """Take note of an answer."""
        self._last = time.monotonic()
        self._took_s += 0.2 * (took_s - self._took_s)

    def failed(self) -> None:
        """Take note of a failure: unless an answer follows soon, the model is down."""
        soon = time.monotonic() - self._stale_s + SECOND_CHANCE_S
        self._last = min(self._last, soon)

    async def watch(self) -> None:
        """Ask whenever nothing was answered for a while; never returns.

        A probe that waits holds up no other one, until every worker has one before it.
        """
        probes: set[asyncio.Task[None]] = set()
        asked = float("-inf")
        try:
            while True:
                now = time.monotonic()
                quiet = now - max(self._last, asked) > PROBE_AFTER_S
                if quiet and len(probes) <= self._served.workers:
                    asked = now
                    probe = asyncio.create_task(self._probe())
                    probes.add(probe)
                    probe.add_done_callback(probes.discard)
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            for probe in probes:
                probe.cancel()

    async def _probe(self) -> None:
        started = time.monotonic()
        request = probe_envelope(self._served.input, new_id())
        try:
            answer = await self._backend.ask(self._served, request)
        except BackendError:
            return
        if answer.statuses[0] in _ANSWERED:
            self.succeeded(time.monotonic() - started)
