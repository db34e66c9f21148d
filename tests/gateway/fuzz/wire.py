"""Bytes to a server's ports, and what comes back: no library between that would mend them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

PATIENCE_S = 20.0
IDLE_S = 5.0
JSON_LENGTH = "inference-header-content-length"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Rest:
    """One connection after another: the next one is made when the server closes one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._rest = b""
        self._used = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def ask(self, request: bytes, *, only_head: bool = False) -> Reply:
        """Send one whole request and return the answer."""
        if time.monotonic() - self._used > IDLE_S:
            self.hang_up()  # before the server does
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), PATIENCE_S)
        with suppress(ConnectionError):  # it was refused before all of it was read
            self._socket.sendall(request)
        reply = self._reply(only_head)
        self._used = time.monotonic()
        if reply.headers.get("connection") == "close":
            self.hang_up()
        return reply

    def all_replies(self, data: bytes) -> list[Reply]:
        """Send bytes on a connection of their own, close our side, and return all that comes."""
        self.hang_up()
        self._socket = socket.create_connection(("127.0.0.1", self._port), PATIENCE_S)
        with suppress(OSError):
            self._socket.sendall(data)
            self._socket.shutdown(socket.SHUT_WR)
        replies = []
        try:
            while True:
                replies.append(self._reply(only_head=False))
        except (EOFError, ConnectionError):
            return replies
        finally:
            self.hang_up()

    def _reply(self, only_head: bool) -> Reply:
        head = self._take(lambda held: held.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in held else 0)
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        status = int(first.split()[1])
        if status == 100:
            return self._reply(only_head)
        size = 0 if only_head else int(headers.get("content-length", 0))
        body = self._take(lambda held: size if len(held) >= size else 0) if size else b""
        return Reply(status, headers, body)

    def _take(self, enough: Callable[[bytes], int]) -> bytes:
        assert self._socket is not None
        while not (size := enough(self._rest)):
            more = self._socket.recv(65_536)
            if not more:
                raise EOFError
            self._rest += more
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def swallowed(port: int, data: bytes) -> bytes:
    """Send bytes on a connection of their own, close our side, and return all that comes."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        told = b""
        with suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65_536):
                told += more
    return told


def request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Return a request in bytes; the length of its body is told unless the headers tell one."""
    told = {"host": "x", "content-length": str(len(body)), **headers}
    lines = [f"{name}: {value}" for name, value in told.items()]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
    return head.encode("latin-1", "replace") + body


class Rpc:
    """One channel, over which any bytes are sent to any method."""

    def __init__(self, target: str, key: str) -> None:
        self._channel = grpc.insecure_channel(target)
        self._key = key
        self._calls: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._channel.close()

    def ask(self, method: str, body: bytes, metadata: Mapping[str, str] | None = None) -> Any:
        """Return the answer's bytes, or the error."""
        call = self._calls.get(method)
        if call is None:
            call = self._calls[method] = self._channel.unary_unary(f"/{method}")
        shown = {"authorization": f"Bearer {self._key}", **(metadata or {})}
        try:
            return call(body, metadata=tuple(shown.items()), timeout=PATIENCE_S)
        except grpc.RpcError as error:
            return error


def error_of(reply: Reply) -> str:
    """Return the text of a refusal; TorchServe's own interface may tell it of the item."""
    told = json.loads(reply.body)
    error = told["error"] if "error" in told else told["predictions"][0]["error"]
    assert isinstance(error, str)
    return error
