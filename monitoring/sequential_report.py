"""What the sequential alarm says of a span: its alarms, where it stands, and how it got there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitoring.betting.alarm import Alarm, Counts


@dataclass(frozen=True, slots=True)
class PathPoint:
    """The statistic after so many items of the span, the last of them logged then (UTC, ns)."""

    items: int
    timestamp_ns: int
    statistic: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialReport:
    """`alarms` are those of the span, oldest first; `new` were raised by this look.

    Without `followed`, a detector of its own looked at the span alone and was then forgotten.
    `path` is empty unless it was asked for.
    """

    followed: bool
    average_run_length: int
    statistic: float
    ongoing: bool
    """The shift of the last alarm, of whatever span, goes on."""
    alarms: tuple[Alarm, ...]
    new: tuple[Alarm, ...]
    counts: Counts
    scores: tuple[str, ...]
    left_out: Mapping[str, str]
    skipped: int = 0
    """Items since the last look that were not followed: more than one look reads."""
    path: tuple[PathPoint, ...] = ()

    @property
    def stands(self) -> bool:
        """Whether the stream changed within the span, or before and has not come back."""
        return bool(self.alarms) or self.ongoing
