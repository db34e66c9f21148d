"""Where the time of a call goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torchkeep.schema import RuntimeMs


class Stopwatch:
    """Starts when it is made; `runtime` (ms) is shared by all records of the call."""

    def __init__(self) -> None:
        self.runtime: RuntimeMs = {"decode": 0.0, "screen_predict": 0.0, "total": 0.0}
        self._started = time.perf_counter_ns()

    @contextmanager
    def measure(self, stage: Literal["decode", "screen_predict"]) -> Iterator[None]:
        """Add the time of the block to a stage."""
        started = time.perf_counter_ns()
        try:
            yield
        finally:
            self.runtime[stage] += _ms_since(started)

    def stop(self) -> None:
        """Set the total."""
        self.runtime["total"] = _ms_since(self._started)


def _ms_since(started_ns: int) -> float:
    return (time.perf_counter_ns() - started_ns) / 1e6
