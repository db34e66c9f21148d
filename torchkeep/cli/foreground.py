"""Staying with a server that was started: until a signal ends it, or it ends by itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchkeep.paths import Home

LOOK_EVERY_S = 1.0


@contextmanager
def staying(home: Home) -> Iterator[None]:
    """Run the block, wait for SIGTERM or SIGINT, and stop the server of `home` whatever happens.

    A signal during the block lets it finish first. A part that dies is started again by the
    supervisor; raises `ServerError` if both are gone before.
    """
    from release.server import stop

    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
        _wait(home, ended)
    finally:
        stop(home)
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(home: Home, ended: threading.Event) -> None:
    from release.status import status
    from torchkeep.errors import ServerError

    while not ended.wait(LOOK_EVERY_S):
        now = status(home)
        if now.over:
            raise ServerError(
                f"the server has ended: {now.reason}", remedy=f"Its log is {now.log}."
            )
