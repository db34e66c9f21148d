"""Messages on their way: how many at once, for each may become as large as a message may be.

gRPC tells nothing of a message before all of it is there, so reads are counted, not bytes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from gateway.config import GatewayConfig
from gateway.grpc_front.visit import Read
from gateway.refusal import Code, Refusal

SLOW: Final = (
    "the request did not arrive in time; send it at once, or raise [gateway] body_timeout_s"
)
CROWDED: Final = "too many messages are being read; try again"
RETRY_AFTER_S: Final = 1.0

QUICK_READS: Final = 16
QUICK_S: Final = 0.1
"""Most messages are there when they are asked for. What takes longer is a slow read."""

OPEN_READS: Final = 32
OPEN_READ_S: Final = 1.0


class KeyedReads:
    """First messages of callers with a key: a few at once, the others wait their turn.

    A read that outlasts `QUICK_S` makes room for quick ones and becomes a slow one. There are as
    many slow ones as queued bytes have room for, and a client may have as many of them as are still
    free (the rule of `gateway.plane.admission`): one that stalls shuts nobody out.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._timeout_s = config.body_timeout_s
        self._most_slow = max(2, config.max_queued_mib // config.max_body_mib)
        self._slow: Counter[str] = Counter()
        self._turns = asyncio.Semaphore(QUICK_READS)

    async def first(self, read: Read, client: str) -> bytes | None:
        """Return the first message. Raises `Refusal` if it is too late, or slow among too many."""
        turn = _Turn(client)
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                await self._turns.acquire()
                timer = asyncio.get_running_loop().call_later(QUICK_S, self._outlasted, turn, limit)
                try:
                    return await read(None)
                finally:
                    timer.cancel()
                    self._end(turn)
        except TimeoutError:
            if turn.refused:
                raise Refusal(Code.BUSY, CROWDED, retry_after_s=RETRY_AFTER_S) from None
            raise Refusal(Code.SLOW, SLOW) from None

    def _outlasted(self, turn: _Turn, limit: asyncio.Timeout) -> None:
        """Make a read a slow one, or end it."""
        if limit.expired():
            return
        free = self._most_slow - self._slow.total()
        if self._slow[turn.client] >= free:
            turn.refused = True
            limit.reschedule(asyncio.get_running_loop().time())
            return
        turn.slow = True
        self._slow[turn.client] += 1
        self._turns.release()

    def _end(self, turn: _Turn) -> None:
        if not turn.slow:
            self._turns.release()
            return
        self._slow[turn.client] -= 1
        if not self._slow[turn.client]:
            del self._slow[turn.client]


class OpenReads:
    """First messages of callers without a key: small, soon there, and few at once.

    Whoever comes when all places are taken takes the place that was held for longest: callers that
    stall give way to those that ask how the gateway is.
    """

    def __init__(self) -> None:
        self._limits: dict[asyncio.Timeout, None] = {}  # in the order of their coming

    async def first(self, read: Read) -> bytes | None:
        """Return the first message. Raises `Refusal` if it comes too late."""
        try:
            async with asyncio.timeout(OPEN_READ_S) as limit:
                self._make_room()
                self._limits[limit] = None
                try:
                    return await read(None)
                finally:
                    self._limits.pop(limit, None)
        except TimeoutError:
            raise Refusal(Code.SLOW, SLOW) from None

    def _make_room(self) -> None:
        if len(self._limits) >= OPEN_READS:
            oldest = next(iter(self._limits))
            del self._limits[oldest]
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())


class _Turn:
    """A read under way."""

    __slots__ = ("client", "refused", "slow")

    def __init__(self, client: str) -> None:
        self.client = client
        self.slow = self.refused = False
