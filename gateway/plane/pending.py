"""A question while it waits for its answer: what was sent of it, and what came back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.outcome import Outcome
from gateway.question import Question
from gateway.upstream import ServedVersion
from torchkeep.schema import ItemStatus, Verdict

_WORST = (Verdict.FAILED, Verdict.SUSPICIOUS, Verdict.CLEAN)


@dataclass(slots=True, eq=False)
class Pending:
    """One question on its way; `closed` once it has its terminal status, whatever that is."""

    question: Question
    served: ServedVersion
    answer: asyncio.Future[Outcome]
    items: int
    nbytes: int
    queued: float = field(default_factory=time.monotonic)
    sent: int = 0  # items handed out to calls
    answered: int = 0  # items that came back
    closed: bool = False
    parts: list[tuple[int, Outcome]] = field(default_factory=list)  # by first item
    first_sent: float = 0.0
    batch_size: int = 0
    attempt: int = 1
    verdict: str = ""
    items_ok: int = 0

    @property
    def left(self) -> int:
        """Items that no call has taken yet."""
        return self.items - self.sent

    def take(self, most: int, now: float) -> Share:
        """Hand out the next items, at most so many."""
        count = min(most, self.left)
        share = Share(self, self.sent, count)
        if not self.sent:
            self.first_sent = now
        self.sent += count
        return share

    def judge(
        self, statuses: Sequence[ItemStatus], verdicts: Sequence[Verdict | None], size: int
    ) -> None:
        """Note what a call of `size` items told of some of ours, before anything is withheld."""
        self.items_ok += sum(status is ItemStatus.OK for status in statuses)
        self.batch_size = max(self.batch_size, size)
        for verdict in _WORST:
            if self.verdict == verdict or verdict in verdicts:
                self.verdict = str(verdict)
                return


@dataclass(frozen=True, slots=True)
class Share:
    """Consecutive items of one question that travel in one call."""

    pending: Pending
    start: int
    count: int
