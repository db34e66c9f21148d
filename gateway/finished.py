"""The end of a request, as telemetry sees it: what the access log, metrics and traces need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.question import Arrival
from gateway.refusal import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One request and its one terminal status; times in seconds.

    `verdict` is the worst of its items: "failed" before "suspicious" before "clean", "" if no item
    was judged. Times are 0 where the request did not come so far.
    """

    arrival: Arrival
    code: Code
    message: str = ""  # "" if all went well
    version: str = ""  # that answered
    verdict: str = ""
    items_ok: int = 0
    queue_s: float = 0.0
    backend_s: float = 0.0
    total_s: float = 0.0
    batch_size: int = 0  # items of the largest call that held items of this request
    attempt: int = 1


class Telemetry(Protocol):
    """Where finished requests are told, before they are answered."""

    def begin(self, arrival: Arrival) -> None:
        """Read the caller's trace and, if traces are kept, begin a span: sets `arrival.trace`."""

    async def finished(self, requests: Sequence[Finished]) -> None:
        """Log and count them; raises `LogFullError` if they may not be answered."""
