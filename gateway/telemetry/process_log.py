"""What the process says of itself on stderr: few lines, however many requests there are.

Nothing bounds the file behind stderr, and callers without a key could fill a disk with lines.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Final

MOST: Final = 10
"""Lines that one place in the code may write in `PERIOD_S`; the next one counts those left out."""
PERIOD_S: Final = 60.0
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_OF_CALLERS: Final = ("uvicorn.error", "asyncio")
"""Who warns of what callers do: one connection too many, a socket that they have closed."""


def set_up() -> None:
    """Send warnings and errors of the whole process to stderr."""
    handler = logging.StreamHandler()
    handler.addFilter(Sparing())
    logging.basicConfig(level=logging.WARNING, format=_FORMAT, handlers=[handler], force=True)
    for name in _OF_CALLERS:
        logging.getLogger(name).setLevel(logging.ERROR)


@dataclass(slots=True)
class _Period:
    ends: float
    written: int = 0
    left_out: int = 0


class Sparing(logging.Filter):
    """Lets `MOST` records of one place in the code through in `PERIOD_S`."""

    def __init__(self) -> None:
        super().__init__()
        self._periods: dict[tuple[str, int], _Period] = {}  # as many as there are places

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a record; the first after a pause says how many were left out."""
        now = time.monotonic()
        place = (record.pathname, record.lineno)
        period = self._periods.get(place)
        if period is None or now >= period.ends:
            if period is not None and period.left_out:
                record.msg = f"{record.getMessage()} ({period.left_out} more were left out)"
                record.args = None
            period = self._periods[place] = _Period(now + PERIOD_S)
        if period.written >= MOST:
            period.left_out += 1
            return False
        period.written += 1
        return True
