"""Who attends to RPCs: a key, a message, an answer, and exactly one access record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.grpc_front.visit import Read, Route, StreamRoute, Visit, Write
from gateway.identity.api_keys import ApiKeys
from gateway.plane.data_plane import GONE, DataPlane
from gateway.refusal import Code, Refusal

logger = logging.getLogger(__name__)

FAULT = "the gateway failed on this request; its log says more"
NO_MESSAGE = "the request holds no message"
SLOW = "the request did not arrive in time; send it at once, or raise [gateway] body_timeout_s"

T = TypeVar("T")


class Desk:
    """Between a transport, which carries messages, and the routes, which answer them."""

    def __init__(self, plane: DataPlane, keys: ApiKeys) -> None:
        self._plane = plane
        self._keys = keys
        self._body_timeout_s = plane.config.body_timeout_s

    async def attend(self, route: Route, visit: Visit, read: Read) -> bytes:
        """Return the answer to the one message of an RPC. Raises `Refusal` to answer instead."""

        async def work() -> bytes:
            message = await self._first(read)
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
        """Record an RPC that no route takes; return what to answer."""
        visit.recorded = True
        return await self._plane.refuse(visit.arrival, refusal)

    async def _first(self, read: Read) -> bytes:
        """Return the first message, which has to come in time: an open stream costs memory."""
        try:
            message = await read(self._body_timeout_s)
        except TimeoutError:
            raise Refusal(Code.SLOW, SLOW) from None
        if message is None:
            raise Refusal(Code.INVALID, NO_MESSAGE)
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
                await self.refused(visit, Refusal(Code.CANCELLED, GONE))
            raise
        except Exception:
            logger.exception("%s failed", visit.arrival.route)
            fault = Refusal(Code.INTERNAL, FAULT)
            if not (route.open or visit.recorded):
                fault = await self.refused(visit, fault)
            raise fault from None
