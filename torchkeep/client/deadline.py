"""One deadline over a whole HTTP exchange: connect, handshake, send and receive together.

Timeouts of sockets count anew with each byte that arrives, so a server that trickles its answer
would never be late. Here every operation of a connection gets the time that is left.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpcore

SEND_BYTES: Final = 2**18
"""A body is sent in parts, so that the deadline is looked at between them."""

TimeLeft = Callable[[type[httpcore.TimeoutException]], float]


class DeadlineBackend(httpcore.NetworkBackend):
    """Opens connections whose operations raise `httpcore.TimeoutException` after the deadline.

    The deadline belongs to the calling thread: connections are shared between threads.
    """

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()
        self._local = threading.local()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Give all that happens in the block, on this thread, so many seconds together."""
        self._local.end = time.monotonic() + seconds
        try:
            yield
        finally:
            del self._local.end

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect; the deadline counts, not `timeout`."""
        left = self._left(httpcore.ConnectTimeout)
        stream = self._inner.connect_tcp(host, port, left, local_address, socket_options)
        return _DeadlineStream(stream, self._left)

    def _left(self, error: type[httpcore.TimeoutException]) -> float:
        seconds: float = self._local.end - time.monotonic()
        if seconds <= 0:
            raise error("the deadline has passed")
        return seconds


class _DeadlineStream(httpcore.NetworkStream):
    """A connection of which each operation gets the time that is left."""

    def __init__(self, inner: httpcore.NetworkStream, left: TimeLeft) -> None:
        self._inner = inner
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), SEND_BYTES):
            part = buffer[start : start + SEND_BYTES]
            self._inner.write(part, self._left(httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = self._left(httpcore.ConnectTimeout)
        return _DeadlineStream(
            self._inner.start_tls(ssl_context, server_hostname, left), self._left
        )

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
