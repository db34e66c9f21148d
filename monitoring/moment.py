"""A time of the log as text."""

from __future__ import annotations

from datetime import UTC, datetime

NANOSECONDS = 1_000_000_000


def moment(time_ns: int) -> str:
    """Return a time (UTC, ns since 1970) as text, to the second."""
    return f"{datetime.fromtimestamp(time_ns / NANOSECONDS, UTC):%Y-%m-%d %H:%M:%S}"
