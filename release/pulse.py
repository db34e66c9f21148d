"""Whether a child that lives also answers: one that hangs is as good as dead."""

from __future__ import annotations

import time

from release.loopback import request
from release.ports import LOOPBACK
from torchkeep.errors import ServerError

ASK_S = 2.0
EVERY_S = 2.0
MOST_MISSED = 3
"""In a row."""


class Pulse:
    """Asks a server on this machine now and then; whatever it answers shows that it lives."""

    def __init__(self, name: str, port: int, path: str, *, host: str = LOOPBACK) -> None:
        self._name = name
        self._port = port
        self._path = path
        self._host = host
        self._next = 0.0
        self._missed = 0

    def feel(self) -> None:
        """Ask if it is time to. Raises `ServerError` once it is given up."""
        if time.monotonic() < self._next:
            return
        try:
            request(self._port, self._path, host=self._host, timeout_s=ASK_S)
        except OSError:
            self._missed += 1
        else:
            self._missed = 0
        self._next = time.monotonic() + EVERY_S
        if self._missed >= MOST_MISSED:
            raise ServerError(f"{self._name} lives and does not answer any more")
