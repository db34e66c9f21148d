"""A TCP server that says whatever bytes it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class RawServer:
    """Answers each request with the next of `sayings`; an empty piece of one hangs up."""

    sayings: list[Sequence[bytes]] = field(default_factory=list)
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    address: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await reader.read(65536):
                self.requests.append(request)
                for piece in self.sayings.pop(0) if self.sayings else ():
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    told = RawServer()
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    told.address = f"{host}:{port}"
    async with server:
        yield told
