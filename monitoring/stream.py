"""The sequential alarm beside a look: it follows the stream, whatever span was looked at.

N items
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from monitoring.alarm_history import AlarmHistory
from monitoring.betting.alarm import Alarm
from monitoring.reference import Reference
from monitoring.sequential import SequentialAlarm, SequentialConfig, followed
from monitoring.sequential_report import PathPoint, SequentialReport
from monitoring.window import Window

POINTS = 200
"""Of a path, at most."""
GRACE_NS = 10_000_000_000
"""So far back items are offered again: workers log side by side, and some come a little late."""


def follow(
    state: Path,
    reference: Reference,
    config: SequentialConfig,
    window: Window,
    read_since: Callable[[int], tuple[Window, int]],
    *,
    path: bool = False,
) -> SequentialReport:
    """Go on from where the last look left off, and report on the span of `window`.

    `read_since(ns)` returns the items of this version logged at that time or later, and how many
    older ones of these it left out; at the very first look, those of `window` are taken. Raises as
    `followed` does.
    """
    with followed(state, reference, config) as detector:
        watermark = detector.watermark
        latest, skipped = _latest(window, watermark and watermark[0], read_since)
        history = AlarmHistory(state, reference.model, reference.artifact_digest)
        new = tuple(detector.update(latest))
        alarms = tuple(alarm for alarm in history.add(new) if _within(alarm.timestamp_ns, window))
        points = tuple(_path(SequentialAlarm.start(reference, config), window)) if path else ()
        return replace(
            _report(detector, config, alarms, new, followed=True, path=points), skipped=skipped
        )


def _latest(
    window: Window, seen_ns: int | None, read_since: Callable[[int], tuple[Window, int]]
) -> tuple[Window, int]:
    """Return the items to go on with, and how many that were never seen are not among them."""
    if seen_ns is None:
        return window, 0
    latest, left_out = read_since(seen_ns - GRACE_NS)
    if left_out:  # of these some may have been seen
        _, left_out = read_since(seen_ns + 1)
    return latest, left_out


def look_once(
    reference: Reference, config: SequentialConfig, window: Window, *, path: bool = False
) -> SequentialReport:
    """Have a detector of its own look at the window alone; nothing is kept."""
    detector = SequentialAlarm.start(reference, config)
    alarms = tuple(detector.update(window))
    points = tuple(_path(SequentialAlarm.start(reference, config), window)) if path else ()
    return _report(detector, config, alarms, alarms, followed=False, path=points)


def _within(time_ns: int, window: Window) -> bool:
    return len(window) > 0 and bool(window.timestamp_ns.min() <= time_ns)


def _report(
    detector: SequentialAlarm,
    config: SequentialConfig,
    alarms: tuple[Alarm, ...],
    new: tuple[Alarm, ...],
    *,
    followed: bool,
    path: tuple[PathPoint, ...],
) -> SequentialReport:
    return SequentialReport(
        followed=followed,
        average_run_length=config.average_run_length,
        statistic=detector.statistic,
        ongoing=detector.ongoing,
        alarms=alarms,
        new=new,
        counts=detector.counts,
        scores=detector.scores,
        left_out=detector.left_out,
        path=path,
    )


def _path(detector: SequentialAlarm, window: Window) -> Iterator[PathPoint]:
    """The statistic along the window, in pieces; a piece with an alarm shows its statistic."""
    for rows in np.array_split(np.arange(len(window)), min(POINTS, max(1, len(window)))):
        if len(rows):
            piece = window.take(rows)
            alarms = detector.update(piece)
            peak = max((alarm.statistic for alarm in alarms), default=detector.statistic)
            yield PathPoint(
                int(rows[-1]) + 1, int(piece.timestamp_ns[-1]), max(peak, detector.statistic)
            )
