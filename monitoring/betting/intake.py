"""Which items of a window are new: each is taken once, in the order of its position.

A log has many writers, so items come a little out of order, and readers read overlapping spans.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.window import Window

Position = tuple[int, str, int]
"""Timestamp (UTC, ns), request id, item."""

RECALLED = 16_384
"""So many items are known again if they are offered again; older ones count as late."""
TOLERATED_NS = 60_000_000_000
"""A clock may be so far ahead of ours. An item further ahead would make all others late."""


@dataclass(frozen=True, slots=True)
class Portion:
    """What a window brings: indices of its new items, in order, and how many were not taken."""

    rows: NDArray[np.int64]
    late: int
    ahead: int


class Intake:
    """Remembers what was taken: the last position, and hashes of the latest items."""

    def __init__(self, watermark: Position | None = None, recalled: tuple[int, ...] = ()) -> None:
        self.watermark = watermark
        self.recalled = dict.fromkeys(recalled)  # ordered, oldest first

    def take(self, window: Window, now_ns: int) -> Portion:
        """Return the items to take now; from then on they count as taken."""
        rows = _in_order(window)
        ahead = window.timestamp_ns[rows] > now_ns + TOLERATED_NS
        due = rows[~ahead]
        newer = self._newer(window, due)
        late = sum(self._recall(_hash(window, row)) for row in due[~newer])
        new = due[newer]
        for row in new[-RECALLED:]:
            self._recall(_hash(window, row))
        if len(new):
            self.watermark = position(window, new[-1])
        return Portion(new, late, int(ahead.sum()))

    def _newer(self, window: Window, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self.watermark is None:
            return np.ones(len(rows), dtype=np.bool_)
        at_ns, request_id, item = self.watermark
        times, ids = window.timestamp_ns[rows], window.request_id[rows]
        in_request = (ids == request_id) & (window.item[rows] > item)
        newer = (times > at_ns) | ((times == at_ns) & ((ids > request_id) | in_request))
        return np.asarray(newer, dtype=np.bool_)

    def _recall(self, mark: int) -> bool:
        """Remember an item; return whether it was unknown."""
        if mark in self.recalled:
            return False
        self.recalled[mark] = None
        if len(self.recalled) > RECALLED:
            del self.recalled[next(iter(self.recalled))]
        return True


def position(window: Window, row: int | np.int64) -> Position:
    """Return the position of an item of a window."""
    return int(window.timestamp_ns[row]), str(window.request_id[row]), int(window.item[row])


def _in_order(window: Window) -> NDArray[np.int64]:
    """Return the indices of the items in the order of their positions, each position once."""
    rows = np.lexsort((window.item, window.request_id, window.timestamp_ns))
    columns = (window.item[rows], window.request_id[rows], window.timestamp_ns[rows])
    again = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    return np.asarray(rows[np.concatenate([np.ones(min(1, len(rows)), np.bool_), ~again])])


def _hash(window: Window, row: np.int64) -> int:
    text = repr(position(window, row)).encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
