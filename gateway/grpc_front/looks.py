"""One look for many watchers: whether anything changed that they watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway.refusal import Code, Refusal

LOOK_EVERY_S: Final = 0.2
MOST_WATCHERS: Final = 64


class Looks:
    """Looks every so often, while anybody watches, and wakes the watchers when it sees a change."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._seen: object = None
        self._watchers = 0
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Be one of those who watch. Raises `Refusal` BUSY if they are too many."""
        if self._watchers >= MOST_WATCHERS:
            raise Refusal(
                Code.BUSY, f"{MOST_WATCHERS} callers watch already; ask by Check every few seconds"
            )
        self._watchers += 1
        if self._timer is None:
            self._again()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._rest()

    async def change(self) -> None:
        """Wait until something changed."""
        await self._changed.wait()

    def _again(self) -> None:
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            self._changed.set()  # wakes those who wait now; who comes later waits for the next one
            self._changed = asyncio.Event()
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._again)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._seen = None
