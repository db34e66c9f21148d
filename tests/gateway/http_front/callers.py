"""What callers send, and how they go away."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from gateway.outcome import Outcome
from gateway.question import Question
from tests.gateway.http_front.serving import GOOD, Connection, answer_to, infer_body, request

INFER = "/v2/models/digits/infer"
ASK = request("POST", INFER, infer_body())
LIVE = request("GET", "/v2/health/live")
HEAD = f"POST {INFER} HTTP/1.1\r\nauthorization: Bearer {GOOD}\r\n".encode()


class Gate:
    """A model that answers when it is let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, question: Question) -> Outcome:
        await self.open.wait()
        return answer_to(question)


def reset(connection: Connection) -> None:
    """Close so that the other side sees a reset."""
    own: Any = connection.writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


def half_close(connection: Connection) -> None:
    connection.writer.write_eof()
