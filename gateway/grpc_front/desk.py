"""Who attends to RPCs: a key, a message, an answer, and exactly one access record."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.grpc_front.reads import KeyedReads, OpenReads
from gateway.grpc_front.visit import Read, Route, StreamRoute, Visit, Write
from gateway.identity.api_keys import ApiKeys
from gateway.plane.data_plane import GONE, LATE, DataPlane
from gateway.refusal import Code, Refusal
from torchkeep.ids import new_id

logger = logging.getLogger(__name__)

FAULT = "the gateway failed on this request; its log says more"
NO_MESSAGE = "the request holds no message"
TOLD_S = 0.02
"""How soon an RPC that its caller or its deadline has ended is cancelled here too."""
NEAR_S = 0.05
"""How near its deadline an RPC that ends was ended by it: gRPC itself does not tell."""

T = TypeVar("T")


class Desk:
    """Between a transport, which carries messages, and the routes, which answer them."""

    def __init__(self, plane: DataPlane, keys: ApiKeys) -> None:
        self._plane = plane
        self._keys = keys
        self._keyed = KeyedReads(plane.config)
        self.open_reads = OpenReads()

    async def attend(self, route: Route, visit: Visit, read: Read) -> bytes:
        """Return the answer to the one message of an RPC. Raises `Refusal` to answer instead."""

        async def work() -> bytes:
            message = await self._message(route, visit, read) if route.most else b""
            visit.arrival.bytes_in = len(message)
            return await route.answer(visit, message)

        return await self._recorded(route, visit, work)

    async def attend_stream(
        self, route: StreamRoute, visit: Visit, read: Read, write: Write
    ) -> None:
        """Carry on an RPC of many messages. Raises `Refusal` to end it with."""

        async def work() -> None:
            await route.run(visit, read, write)
            if not route.open:
                await self.done(visit)

        await self._recorded(route, visit, work)

    async def done(self, visit: Visit) -> None:
        """Record an RPC that is answered without the model. Raises `Refusal` if that fails."""
        visit.recorded = True
        await self._plane.done(visit.arrival)

    async def refused(self, visit: Visit, refusal: Refusal) -> Refusal:
        """Record an RPC that is refused; return what to answer.

        An id is believed only of a caller that is: others could write over each other's records.
        """
        visit.recorded = True
        if visit.arrival.principal is None:
            visit.arrival.request_id = new_id()
        return await self._plane.refuse(visit.arrival, refusal)

    async def _message(self, route: Route, visit: Visit, read: Read) -> bytes:
        """Return the message, which has to come in time: an open stream costs memory."""
        if route.open:
            message = await self.open_reads.first(read)
        else:
            message = await self._keyed.first(read, visit.caller.client)
        if message is None:
            await asyncio.sleep(TOLD_S)  # an RPC that was ended reads as one that says nothing
            raise Refusal(Code.INVALID, NO_MESSAGE)
        check_length(message, route.most)
        return message

    async def _recorded(
        self, route: Route | StreamRoute, visit: Visit, work: Callable[[], Awaitable[T]]
    ) -> T:
        try:
            if not route.open:
                visit.arrival.principal = self._keys.authenticate(visit.token)
            return await work()
        except Refusal as refusal:
            if route.open or visit.recorded:
                raise
            raise await self.refused(visit, refusal) from None
        except asyncio.CancelledError:
            if not (route.open or visit.recorded):
                await self.refused(visit, _ended(visit))
            raise
        except Exception:
            logger.exception("%s failed", visit.arrival.route)
            fault = Refusal(Code.INTERNAL, FAULT)
            if not (route.open or visit.recorded):
                fault = await self.refused(visit, fault)
            raise fault from None


def check_length(message: bytes, most: int) -> None:
    """Raise `Refusal` if a message is longer than that."""
    if len(message) > most:
        raise Refusal(
            Code.TOO_LARGE, f"the message has {len(message)} bytes; at most {most} are taken here"
        )


def _ended(visit: Visit) -> Refusal:
    """Return why an RPC ended before its answer."""
    if visit.expires is not None and time.monotonic() >= visit.expires - NEAR_S:
        return Refusal(Code.EXPIRED, LATE)
    return Refusal(Code.CANCELLED, GONE)
