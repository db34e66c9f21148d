"""A data plane, the real handler behind it, and what its telemetry was told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from gateway.config import GatewayConfig
from gateway.outcome import Outcome
from gateway.plane.backend import Backend
from gateway.plane.data_plane import DataPlane
from gateway.question import Question
from gateway.refusal import Refusal
from tests.gateway.plane.handler_server import HandlerServer
from tests.gateway.plane.questions import DIGITS, Told
from tests.handlers.conftest import Bench

PATIENCE_S = 20.0


class House:
    """A plane, the server behind it, and what its telemetry was told."""

    def __init__(self, server: HandlerServer, config: GatewayConfig) -> None:
        self.server = server
        self.told = Told()
        self.backend = Backend(server.upstream(DIGITS))
        self.plane = DataPlane(server.upstream(DIGITS), config, self.backend, self.told)

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    async def ask(self, asked: Question) -> Outcome | Refusal:
        try:
            return await self.plane.infer(asked)
        except Refusal as refusal:
            return refusal

    def answers(self) -> list[tuple[str, str]]:
        """Return request id and code of every finished request."""
        return [(one.arrival.request_id, one.code.name) for one in self.told.requests]


@asynccontextmanager
async def house(bench: Bench, folder: Path, **settings: Any) -> AsyncIterator[House]:
    server = HandlerServer(bench.service, folder)
    await server.start()
    made = House(server, GatewayConfig(**settings))
    try:
        made.plane.start()
        await made.until(made.plane.ready)
        yield made
    finally:
        server.gate.set()
        await made.plane.stop()
        await made.backend.close()
        await server.stop()


def run(scene: Coroutine[Any, Any, None]) -> None:
    """Play a scene on the gateway's event loop."""
    uvloop.run(asyncio.wait_for(scene, 60))
