"""What the outside asks of the supervisor."""

from __future__ import annotations

import select
import signal
import socket
from contextlib import suppress

from release.state import Phase


class Orders:
    """A signal to stop or, until the server serves, the caller's end; a child's end wakes, too."""

    def __init__(self, caller: socket.socket) -> None:
        self.stop = False
        self._caller = caller
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._watched = [self._woken, caller]
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_signal(self, *_: object) -> None:
        self.stop = True

    def wait(self, seconds: float) -> None:
        """Wait for an order, or the end of a child, for at most `seconds`."""
        readable, _, _ = select.select(self._watched, [], [], 0 if self.stop else seconds)
        if self._caller in readable:  # it never sends, so this is its end
            self.stop = True
        with suppress(BlockingIOError):
            self._woken.recv(4096)

    def dismiss_caller(self) -> None:
        """Tell the caller that the server serves, and outlive it from now on."""
        self._watched.remove(self._caller)
        try:
            self._caller.sendall(Phase.SERVING.encode())
        except OSError:
            self.stop = True
        self._caller.close()
