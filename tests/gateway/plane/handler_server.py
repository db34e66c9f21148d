"""TorchServe without its Java: the real handler's service behind the same HTTP door.

It answers one call at a time, as a worker does, and can be told to fail, to wait, or to end.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from email.parser import BytesParser
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson

from gateway.upstream import ServedVersion, Upstream
from handlers.request import Request
from handlers.service import Service
from tests.handlers.conftest import KEY
from torchkeep import envelope
from torchkeep.schema import Operation

TOKEN = "token-of-the-server"  # noqa: S105


@dataclass(frozen=True)
class Refused:
    """How TorchServe refuses, in its own words; status 0 resets the connection."""

    status: int
    kind: str = ""
    message: str = ""

    @property
    def body(self) -> bytes:
        return orjson.dumps({"code": self.status, "type": self.kind, "message": self.message})


WORKER_KILLED = Refused(507, "InternalServerException", "Worker died.")
WORKER_HUNG = Refused(500, "InternalServerException", "Worker died.")
STALE_TOKEN = Refused(400, "InvalidKeyException", "Token Authorization failed.")
UNKNOWN = Refused(404, "ModelNotFoundException", "Model not found: digits")
RESET = Refused(0)


@dataclass
class HandlerServer:
    """Serves `service`; `failures` holds the next calls' refusals, None for one that succeeds."""

    service: Service
    folder: Path
    failures: list[Refused | None] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[int] = field(default_factory=list)  # items of each call, probes left out
    token: str = TOKEN
    port: int = 0
    chunk: int = 0  # bytes a chunk of the answer; 0 gives its length instead

    def __post_init__(self) -> None:
        self.gate.set()
        self._one_at_a_time = asyncio.Lock()
        self._server: Any = None
        self._doors: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.tell_token()

    def tell_token(self) -> None:
        content = {"inference": {"key": self.token}}
        (self.folder / "key_file.json").write_bytes(orjson.dumps(content))

    async def stop(self) -> None:
        """End at once: what is under way fails, as when the process is killed."""
        self._server.close()
        for door in self._doors:
            door.cancel()
        await asyncio.gather(*self._doors, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        door = asyncio.current_task()
        assert door is not None
        self._doors.add(door)
        try:
            while await self._answer_one(reader, writer):
                pass
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._doors.discard(door)
            writer.transport.abort()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether another one may follow."""
        line, _, fields = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        headers = BytesParser().parsebytes(fields)
        body = await reader.readexactly(int(headers["content-length"]))
        assert line == b"POST /predictions/digits/1.0 HTTP/1.1"
        said: bytes | Refused = STALE_TOKEN
        if headers["authorization"] == f"Bearer {self.token}":
            said = await self._predict(body, headers["content-type"])
        if said == RESET:
            return False
        refused = isinstance(said, Refused)
        writer.write(self._head(said))
        writer.write(said.body if isinstance(said, Refused) else self._framed(said))
        await writer.drain()
        return not refused

    def _head(self, said: bytes | Refused) -> bytes:
        if isinstance(said, Refused):
            status, content_type, connection = said.status, "application/json", "close"
        else:
            status, content_type, connection = 200, envelope.CONTENT_TYPE, "keep-alive"
        size = len(said.body if isinstance(said, Refused) else said)
        chunked = self.chunk and not isinstance(said, Refused)
        length = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
        return (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {content_type}\r\n"
            f"{length}\r\nconnection: {connection}\r\n\r\n"
        ).encode()

    def _framed(self, body: bytes) -> bytes:
        if not self.chunk:
            return body
        parts = [body[i : i + self.chunk] for i in range(0, len(body), self.chunk)]
        return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])

    async def _predict(self, body: bytes, content_type: str) -> bytes | Refused:
        asked = envelope.decode_request(body, KEY, max_items=10_000)
        probe = asked.operation is Operation.PROBE
        if not probe:
            self.calls.append(len(asked.item_index))
        async with self._one_at_a_time:
            await self.gate.wait()
            failure = self.failures.pop(0) if self.failures and not probe else None
            if failure is not None:
                return failure
            sent = Request(body=body, protocol="rest", content_type=content_type)
            answered = await asyncio.to_thread(self.service.answer, [sent])
        return answered[0].body

    def upstream(self, served: ServedVersion) -> Upstream:
        """Return the description of this server, its key beside it."""
        keys = self.folder / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        key = keys / "envelope.key"
        key.write_bytes(KEY)
        key.chmod(0o600)
        return Upstream(
            http_address=f"127.0.0.1:{self.port}",
            token_file=str(self.folder / "key_file.json"),
            envelope_key=str(key),
            models=(served,),
        )
