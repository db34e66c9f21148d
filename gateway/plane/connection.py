"""One kept-alive HTTP/1.1 connection to TorchServe: a call at a time, answers of bounded size."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import httptools


class BrokenAnswerError(Exception):
    """What came back is no HTTP, or more than is taken."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a call."""

    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """Takes answers of at most `most_bytes`; made by `loop.create_connection`."""

    _transport: asyncio.Transport

    def __init__(self, most_bytes: int) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.usable = False  # open, and no call is under way
        self._most_bytes = most_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._reply: asyncio.Future[Reply] | None = None
        self._parts: list[bytes] = []
        self._bytes = 0

    async def ask(self, parts: Iterable[bytes]) -> Reply:
        """Send a whole request and return its answer.

        Raises `BrokenAnswerError`, or `ConnectionError` if the connection is lost before the answer
        is whole. Cancelled, it closes the connection.
        """
        self.usable = False
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.writelines(parts)
        try:
            return await self._reply
        finally:
            self._reply = None
            if not self.usable:
                self.close()

    def close(self) -> None:
        """Close the connection at once."""
        self.usable = False
        self._transport.abort()

    # what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._fail(ConnectionResetError("the connection was lost"))
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._reply is None:  # nobody has asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(BrokenAnswerError(f"the answer is no HTTP/1.1: {error}"))

    # what the parser tells

    def on_message_begin(self) -> None:
        if self._reply is None or self._reply.done():
            self.usable = False  # more than was asked for; the next call must not take it
        self._parts = []
        self._bytes = 0

    def on_body(self, body: bytes) -> None:
        self._bytes += len(body)
        if self._bytes > self._most_bytes:
            self._fail(BrokenAnswerError(f"the answer has more than {self._most_bytes} bytes"))
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._reply is None or self._reply.done():
            return
        status = self._parser.get_status_code()
        body, self._parts = b"".join(self._parts), []
        # After a refusal the rest of the request may still be on its way.
        self.usable = status == HTTPStatus.OK and self._parser.should_keep_alive()
        self._reply.set_result(Reply(status, body))

    def _fail(self, error: Exception) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)
            self._transport.abort()
