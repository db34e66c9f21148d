"""Items of one session are no independent samples: the frames of a video differ by little.

Tests of drift count samples, so a hundred frames of one scene would pass for a hundred witnesses.
We thin: of a session, an item counts only if it comes a while after the last one that counted.
(Averaging a session's frames would use more of them, but the mean of many varies less than a
single image does, and it is single images the reference holds.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.window import Window

DEFAULT_GAP_S = 60.0
"""Items of one session are taken for independent if they are so many seconds apart."""


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
    if not gap_s >= 0:
        raise ValueError(f"the gap must be 0 s or more, got {gap_s}")
    kept: NDArray[np.bool_] = window.session == ""
    sessions = _session_of(window)
    order = np.lexsort((window.timestamp_ns, sessions))
    order = order[~kept[order]]
    chosen, session, last = [], -1, 0
    columns = (order, sessions[order], window.timestamp_ns[order])
    for row, of, time_ns in zip(*(column.tolist() for column in columns), strict=True):
        if of != session or time_ns - last >= gap_s * 1e9:
            chosen.append(row)
            session, last = of, time_ns
    kept[chosen] = True
    return kept


def _session_of(window: Window) -> NDArray[np.int64]:
    """A number for each pair of client and session: N."""
    clients = np.unique(window.client, return_inverse=True)[1]
    names, sessions = np.unique(window.session, return_inverse=True)
    pairs: NDArray[np.int64] = clients.astype(np.int64) * len(names) + sessions
    return pairs
