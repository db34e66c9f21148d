"""One connection: uvicorn's HTTP/1.1 protocol, with bounds on time and size added.

Who is slow (with its head, its body, or in reading answers) is found by `check`, which the server
calls for every connection several times in the shortest of the limits: so no request pays for a
timer. A caller that closes its side of the connection, or half of it, is taken to have gone away,
as nginx and Go's net/http do.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Any, Final, Protocol

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.config import GatewayConfig
from gateway.http_front.marks import BROKEN, CYCLE, GONE, INFERRING, LATE
from gateway.refusal import Code, Refusal

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 100
MAX_PIPELINED: Final = 32
LINGER_S: Final = 2.0
"""How long a caller may go on sending what is thrown away, so that it can read why."""


class Refuser(Protocol):
    """Who records and words a refusal of what is no request yet."""

    async def refuse_unparsed(self, refusal: Refusal) -> bytes:
        """Return a whole HTTP answer that closes the connection."""


class Guard:
    """What all connections share."""

    def __init__(self, config: GatewayConfig, refuser: Refuser) -> None:
        self.config = config
        self.refuser = refuser
        self.draining = False


class _Reading(Enum):
    NOTHING = auto()  # between two requests
    HEAD = auto()
    BODY = auto()


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, made for callers that mean harm."""

    def __init__(self, config: uvicorn.Config, state: ServerState, guard: Guard) -> None:
        super().__init__(config, state, {})
        self._guard = guard
        self._reading = _Reading.HEAD
        self._since = self.loop.time()  # when `_reading` began
        self._head_bytes = 0
        self._fault = ""  # why a head is refused that the parser would take
        self._deaf = False  # nothing more is read
        self._choked_since = 0.0  # the caller does not read; 0 if it does
        self._closing_since = 0.0
        self._running: RequestResponseCycle | None = None

    # what the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        most = self._guard.config.max_connections
        if len(self.connections) > most:
            self._refuse(Code.UNAVAILABLE, f"there are {most} connections already; try again")

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._mark(self._running, GONE)
            if task := self._running.scope["state"].get(INFERRING):
                task.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._reading is not _Reading.BODY:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # no other protocol is spoken here
            self._deaf = True
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._break_off()
        else:
            if self._head_bytes > MAX_HEAD_BYTES:  # and it has not ended
                self._fault = f"the head of the request has more than {MAX_HEAD_BYTES} bytes"
                self._break_off()

    def pause_writing(self) -> None:
        self._choked_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._choked_since = 0.0
        super().resume_writing()

    # what the parser tells

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._read(_Reading.HEAD)

    def on_headers_complete(self) -> None:
        if fault := self._fault_of_head():
            self._fault = fault
            raise ValueError(fault)  # ends the parser; `_break_off` answers
        super().on_headers_complete()
        self.scope["state"][CYCLE] = self.cycle
        self._head_bytes = 0
        self._read(_Reading.BODY)
        if self._guard.draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes = 0
        self._read(_Reading.NOTHING)
        if not self.pipeline:
            self.flow.resume_reading()  # or it would not be seen that the caller goes away

    # what the application's answer leads to

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        if self.transport.is_closing():
            return
        self._since = self.loop.time()
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    # what the server asks

    def check(self, now: float) -> None:
        """Cut off a caller that is too slow."""
        limits = self._guard.config
        if self.transport.is_closing():  # it ends when all is sent, if the caller reads
            self._closing_since = self._closing_since or now
        unread = self._closing_since or self._choked_since
        if unread:
            if now - unread > limits.send_timeout_s:
                self.transport.abort()
        elif self._busy:
            if self._reading is _Reading.BODY and now - self._since > limits.body_timeout_s:
                self._mark(self.cycle, LATE)
        else:
            self._check_silence(now - self._since, limits)

    def _check_silence(self, seconds: float, limits: GatewayConfig) -> None:
        """Close the connection of a caller that nothing is owed to, if it waited too long."""
        if self._deaf or self._reading is _Reading.BODY:
            if seconds > LINGER_S:
                self.transport.close()
        elif self._head_bytes:
            if seconds > limits.header_timeout_s:
                late = f"the head of the request was not there within {limits.header_timeout_s:g} s"
                self._refuse(Code.SLOW, late)
        elif seconds > (limits.header_timeout_s if self.cycle is None else limits.keep_alive_s):
            self.transport.close()

    def drain(self) -> None:
        """Close the connection after the answers that are under way."""
        if self._busy:
            self.cycle.keep_alive = False
        elif self._reading is not _Reading.BODY and not self._head_bytes and not self._deaf:
            self.transport.close()

    def break_off(self) -> None:
        """Cancel what is asked of the model; the answer says so. All else ends at once."""
        task = None if self._running is None else self._running.scope["state"].get(INFERRING)
        if task is None:
            self.transport.abort()
        else:
            task.cancel()

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _read(self, what: _Reading) -> None:
        self._reading, self._since = what, self.loop.time()

    def _fault_of_head(self) -> str:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            return f"the head of the request has more than {MAX_HEAD_BYTES} bytes"
        if len(self.headers) > MAX_HEADERS:
            return f"the request has more than {MAX_HEADERS} headers"
        if len(self.pipeline) >= MAX_PIPELINED:
            return f"more than {MAX_PIPELINED} requests wait on this connection"
        return ""

    def _break_off(self) -> None:
        """Read no more: the bytes are no HTTP, or too many."""
        self._deaf = True
        if not self._busy:
            if self._reading is _Reading.BODY:  # of a request that was answered already
                self.transport.close()
                return
            self._refuse(Code.INVALID, self._fault or "the bytes are no HTTP/1.1 request")
            return
        self.cycle.keep_alive = False
        if self._reading is _Reading.BODY:
            self._mark(self.cycle, BROKEN)

    @staticmethod
    def _mark(cycle: RequestResponseCycle, mark: str) -> None:
        cycle.scope["state"][mark] = True
        cycle.message_event.set()

    def _refuse(self, code: Code, message: str) -> None:
        self._deaf = True
        self._since = self.loop.time()
        task = self.loop.create_task(self._answer_unparsed(Refusal(code, message)))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _answer_unparsed(self, refusal: Refusal) -> None:
        answer = await self._guard.refuser.refuse_unparsed(refusal)
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        self._since = self.loop.time()
        if self.transport.can_write_eof():
            self.transport.write_eof()  # a close with bytes unread could lose the answer
        else:
            self.transport.close()
