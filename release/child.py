"""A process that the supervisor owns, and what starts it again whenever it ends."""

from __future__ import annotations

import subprocess
import time
from typing import Protocol

from release.process import ProcessId
from torchkeep.errors import ServerError

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
HEALED_AFTER_S = 60.0
"""Service of this length makes a child that ends again a child that ends for the first time."""


class Child(Protocol):
    """One program that is run, perhaps several times."""

    identity: ProcessId | None

    def start(self) -> None:
        """Run it. Raises `OSError`."""

    def look(self) -> bool:
        """Look after it; return whether it serves. Raises `ServerError` once it never will."""

    def abandon(self) -> None:
        """End what may be left of it, at once."""


class Keeper:
    """Starts a child that has served once again whenever it ends: soon, then less and less soon.

    `fault` says why it does not serve; it is empty while it does.
    """

    def __init__(self, child: Child, *, first_delay_s: float = FIRST_DELAY_S) -> None:
        self.fault = ""
        self.restarts = 0
        self._child = child
        self._first_delay_s = first_delay_s
        self._delay_s = first_delay_s
        self._due: float | None = None  # when it is started; None while it runs
        self._left = False  # whether something of it may be left
        self._serves_since: float | None = time.monotonic()

    def look(self) -> bool:
        """Look after the child; return whether it serves."""
        now = time.monotonic()
        try:
            if self._due is not None:
                if self._left:  # a look later, so that its end is told before it is cleared up
                    self._child.abandon()
                    self._left = False
                if now < self._due:
                    return False
                self._due = None
                self.restarts += 1
                self._child.start()
            serves = self._child.look()
        except (ServerError, OSError) as error:
            self._lost(error)
            return False
        if serves and self._serves_since is None:
            self._serves_since, self.fault = now, ""
        return serves

    def _lost(self, error: ServerError | OSError) -> None:
        self._left = True
        self.fault = error.message if isinstance(error, ServerError) else f"no start: {error}"
        now = time.monotonic()
        if self._serves_since is not None and now - self._serves_since >= HEALED_AFTER_S:
            self._delay_s = self._first_delay_s
        self._serves_since = None
        self._due = now + self._delay_s
        self._delay_s = min(max(2 * self._delay_s, FIRST_DELAY_S), LONGEST_DELAY_S)


def how_it_ended(code: int) -> str:
    """Say how a process ended, by its return code as `subprocess` gives it."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def end_gently(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask a child to end, and kill it after `seconds`."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
