"""The listening socket of the REST skin: how it is opened, watched and closed."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Final, cast

import uvicorn
from uvicorn.server import ServerState

from gateway.config import GatewayConfig
from gateway.http_front.app import RestApp
from gateway.http_front.protocol import Guard, GuardedProtocol
from gateway.identity.api_keys import ApiKeys
from gateway.plane.data_plane import DataPlane
from torchkeep.errors import ServerError

BACKLOG: Final = 2048
_LOOKS_A_LIMIT: Final = 4
_POLL_S: Final = 0.02


class HttpFront:
    """REST over HTTP/1.1, inside the running event loop; signals are its owner's business."""

    def __init__(self, plane: DataPlane, keys: ApiKeys, config: GatewayConfig) -> None:
        app = RestApp(plane, keys, config)
        self._config = config
        self._guard = Guard(config, app)
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
        )
        self._uvicorn.load()
        self._server: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> int:
        """Listen, and return the port. Raises `ServerError` if that cannot be done."""
        host, port = self._config.host, self._config.http_port
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._protocol,
                host,
                port,
                ssl=tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=self._config.header_timeout_s if tls else None,
            )
        except OSError as error:
            raise ServerError(
                f"[gateway] http_port {port} on {host} cannot be used: {error.strerror}",
                remedy="Stop what uses it, or set another one (0 picks a free one).",
            ) from error
        self._watch = asyncio.create_task(self._watch_connections())
        return int(self._server.sockets[0].getsockname()[1])

    async def drain(self, grace_s: float | None = None) -> None:
        """Accept nothing new, answer what is under way, and close every connection.

        What is not answered within `grace_s` (`drain_s` of the settings) is broken off.
        """
        if self._server is None or self._watch is None:
            return
        self._server.close()
        self._guard.draining = True
        deadline = time.monotonic() + (self._config.drain_s if grace_s is None else grace_s)
        for connection in self._connections():
            connection.drain()
        while self._state.connections and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
        for connection in self._connections():
            connection.break_off()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=1)
        for connection in self._connections():
            connection.transport.abort()
        self._watch.cancel()
        with suppress(asyncio.CancelledError):
            await self._watch
        await self._server.wait_closed()

    def _protocol(self) -> GuardedProtocol:
        return GuardedProtocol(self._uvicorn, self._state, self._guard)

    def _connections(self) -> list[GuardedProtocol]:
        return cast(list[GuardedProtocol], list(self._state.connections))

    async def _watch_connections(self) -> None:
        """Look after every connection, and keep the date that answers carry."""
        limits = self._config
        shortest = min(
            limits.header_timeout_s,
            limits.body_timeout_s,
            limits.send_timeout_s,
            limits.keep_alive_s,
        )
        pause = min(1.0, shortest / _LOOKS_A_LIMIT)
        loop = asyncio.get_running_loop()
        while True:
            date = formatdate(time.time(), usegmt=True).encode()
            self._state.default_headers = [(b"date", date)]
            now = loop.time()
            for connection in self._connections():
                connection.check(now)
            await asyncio.sleep(pause)
