"""The port for operators: is it alive, is it ready, what does it count. An ASGI application.

    GET /livez     200 as long as the event loop turns
    GET /readyz    200, or 503 and why not
    GET /metrics   Prometheus text, or OpenMetrics if that is accepted

No key is asked for: the port is loopback's unless the settings say otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from gateway.telemetry.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_TEXT = "text/plain; charset=utf-8"
_METHODS = ("GET", "HEAD")


class _Answer(NamedTuple):
    status: int
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[bytes, bytes], ...] = ()


class ObserveApp:
    """Answers GET and HEAD of three paths; `not_ready` says why not, "" if it is ready."""

    def __init__(self, metrics: Metrics, not_ready: Callable[[], str]) -> None:
        self._metrics = metrics
        self._not_ready = not_ready

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request as ASGI has it. Raises `ValueError` for anything but HTTP."""
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is served here, not {scope['type']}")
        answer = await self._answer(scope)
        headers = [
            (b"content-type", answer.content_type.encode("latin-1")),
            (b"content-length", str(len(answer.body)).encode()),
            (b"cache-control", b"no-store"),
            *answer.headers,
        ]
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message) -> _Answer:
        path = scope["path"]
        if path not in ("/livez", "/readyz", "/metrics"):
            return _Answer(404, b"there are /livez, /readyz and /metrics\n")
        if scope["method"] not in _METHODS:
            return _Answer(405, b"GET only\n", headers=((b"allow", b"GET, HEAD"),))
        if path == "/livez":
            return _Answer(200, b"alive\n")
        if path == "/readyz":
            reason = self._not_ready()
            return _Answer(503, f"{reason}\n".encode()) if reason else _Answer(200, b"ready\n")
        # in a thread: with many series and GPUs it takes longer than a request may be held up
        return _Answer(200, *await asyncio.to_thread(self._metrics.exposition, _accepted(scope)))


def _accepted(scope: Message) -> str:
    values = (value for name, value in scope["headers"] if name == b"accept")
    return b",".join(values).decode("latin-1")
