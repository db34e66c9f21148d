"""Items of one session are no independent samples: the frames of a video differ by little.

Tests of drift count samples, so a hundred frames of one scene would pass for a hundred witnesses.
We thin: of a session, an item counts only if it comes a while after the last one that counted.
(Averaging a session's frames would use more of them, but the mean of many varies less than a
single image does, and it is single images the reference holds.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.window import Window

DEFAULT_GAP_S = 60.0
"""Items of one session are taken for independent if they are so many seconds apart."""
MOST_SESSIONS = 16_384
"""Of so many sessions a `Thinning` remembers when they last counted: the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """How far the items of a window depend on each other."""

    items: int
    in_sessions: int  # items that belong to a session
    sessions: int
    effective: int  # items that are left after thinning


def thin_sessions(window: Window, *, gap_s: float = DEFAULT_GAP_S) -> Window:
    """Return the items that may count as independent samples, in the order they were.

    Of each session the first item is kept, and each that was logged at least `gap_s` seconds after
    the last one kept (infinity: one a session). A session is one client's `Window.session`; items
    without one are all kept. Raises `ValueError` if `gap_s` is negative or NaN.
    """
    return window.take(independent(window, gap_s=gap_s))


def session_report(window: Window, *, gap_s: float = DEFAULT_GAP_S) -> SessionReport:
    """Return what `thin_sessions` leaves of a window; raises `ValueError` as it does."""
    member = window.session != ""
    return SessionReport(
        items=len(window),
        in_sessions=int(member.sum()),
        sessions=len(np.unique(_session_of(window)[member])),
        effective=int(independent(window, gap_s=gap_s).sum()),
    )


def independent(window: Window, *, gap_s: float = DEFAULT_GAP_S) -> NDArray[np.bool_]:
    """Return which items `thin_sessions` keeps: N; raises `ValueError` as it does."""
    return Thinning(gap_s=gap_s).independent(window)


class Thinning:
    """Does what `thin_sessions` does to a stream that comes in portions, each later than the last.

    It remembers when each session last counted, as long as that matters.
    """

    def __init__(
        self, *, gap_s: float = DEFAULT_GAP_S, counted_ns: Mapping[int, int] | None = None
    ) -> None:
        """Go on from `counted_ns` of another one. Raises `ValueError` as `thin_sessions` does."""
        if not gap_s >= 0:
            raise ValueError(f"the gap must be 0 s or more, got {gap_s}")
        self._gap_ns = gap_s * 1e9
        self.counted_ns = dict(counted_ns or {})  # by the hash of client and session

    def independent(self, window: Window) -> NDArray[np.bool_]:
        """Return which items of the next portion count: N."""
        kept: NDArray[np.bool_] = window.session == ""
        sessions = _session_of(window)
        order = np.lexsort((window.timestamp_ns, sessions))
        order = order[~kept[order]]
        chosen, session, name, last = [], -1, 0, None
        columns = (order, sessions[order], window.timestamp_ns[order])
        for row, of, time_ns in zip(*(column.tolist() for column in columns), strict=True):
            if of != session:
                session, name = of, _name_of(window, row)
                last = self.counted_ns.get(name)
            if last is None or time_ns - last >= self._gap_ns:
                chosen.append(row)
                self.counted_ns[name] = last = time_ns
        kept[chosen] = True
        if len(window):
            self._forget(int(window.timestamp_ns.max()))
        return kept

    def _forget(self, now_ns: int) -> None:
        """Drop what no later item can be too close to, and of too many sessions the oldest."""
        near = [each for each in self.counted_ns.items() if now_ns - each[1] < self._gap_ns]
        near.sort(key=lambda each: each[1])
        self.counted_ns = dict(near[-MOST_SESSIONS:])


def _name_of(window: Window, row: int) -> int:
    """A number for a client and its session that is the same in every window."""
    text = repr((str(window.client[row]), str(window.session[row])))
    digest = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _session_of(window: Window) -> NDArray[np.int64]:
    """A number for each pair of client and session: N."""
    clients = np.unique(window.client, return_inverse=True)[1]
    names, sessions = np.unique(window.session, return_inverse=True)
    pairs: NDArray[np.int64] = clients.astype(np.int64) * len(names) + sessions
    return pairs
