"""The listening socket of the operators' port, inside the gateway's event loop."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.config import GatewayConfig
from gateway.plane.data_plane import DataPlane
from gateway.telemetry.gateway_telemetry import GatewayTelemetry
from gateway.telemetry.observe_app import ObserveApp
from torchkeep.errors import ServerError

MOST_CONNECTIONS: Final = 64
"""Scrapers and probes are few; more get 503."""
LIFE_S: Final = 60.0
"""How long a connection lasts, whoever is slow; then what is under way has `LAST_S`."""
LAST_S: Final = 5.0


class ObserveServer:
    """Health and metrics over HTTP/1.1; signals are its owner's business."""

    def __init__(
        self, plane: DataPlane, telemetry: GatewayTelemetry, config: GatewayConfig
    ) -> None:
        app = ObserveApp(telemetry.metrics, lambda: why_not_ready(plane))
        self._host, self._port = config.observe_host, config.observe_port
        self._state = ServerState()
        self._uvicorn = uvicorn.Config(
            cast(Any, app),
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
        )
        self._uvicorn.load()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen, and return the port. Raises `ServerError` if that cannot be done."""
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._protocol, self._host, self._port
            )
        except OSError as error:
            raise ServerError(
                f"[gateway] observe_port {self._port} on {self._host} cannot be used: "
                f"{error.strerror}",
                remedy="Stop what uses it, or set another one (0 picks a free one).",
            ) from error
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Answer what is under way and close."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=1)
        await self._server.wait_closed()

    def _protocol(self) -> HttpToolsProtocol:
        return _Connection(self._uvicorn, self._state, app_state={})


class _Connection(HttpToolsProtocol):
    """uvicorn's protocol, for a bounded time."""

    _end: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._end = self.loop.call_later(LIFE_S, self._finish)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)

    def _finish(self) -> None:
        self.shutdown()
        self._end = self.loop.call_later(LAST_S, self.transport.abort)


def why_not_ready(plane: DataPlane) -> str:
    """Why the gateway is not ready, in one line; "" if it is."""
    if plane.ready():
        return ""
    if plane.draining:
        return "the gateway is shutting down"
    silent = [
        f"{served.name} {served.version}"
        for served in plane.upstream.models
        if not plane.version_ready(served)
    ]
    return f"no worker has answered lately for {', '.join(silent)}"
