"""The connections to TorchServe: as many as there are calls under way, kept for the next ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from gateway.plane.connection import Connection, Reply

CONNECT_S = 5.0
RECONNECT_S = 0.05


class Connections:
    """To one address, host:port."""

    def __init__(self, address: str, most_bytes: int) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._most_bytes = most_bytes  # of an answer
        self._idle: list[Connection] = []
        self.up = asyncio.Event()  # somebody listens, as far as is known

    async def ask(self, parts: Iterable[bytes]) -> Reply:
        """Have a request answered. Raises `OSError` or `BrokenAnswerError`."""
        connection = self._kept() or await self._open()
        try:
            return await connection.ask(parts)
        finally:
            if connection.usable:
                self._idle.append(connection)

    async def watch(self) -> None:
        """Hold one connection that carries nothing, so that its loss shows; never returns."""
        while True:
            try:
                connection = await self._open()
            except OSError:
                await asyncio.sleep(RECONNECT_S)
                continue
            self.up.set()
            try:
                await connection.lost
            finally:
                self.up.clear()
                connection.close()

    def close(self) -> None:
        """Close what is kept."""
        while connection := self._kept():
            connection.close()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _open(self) -> Connection:
        async with asyncio.timeout(CONNECT_S):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self._most_bytes), self._host, self._port
            )
        return connection
