"""An alert as it is told: that it fires, or that it is over."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

import msgspec


class Status(StrEnum):
    """Whether an alert fires or is over."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell."""

    fingerprint: str
    status: Status
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at_ns: int
    ends_at_ns: int | None
    value: float | None
    """The measure's value that decided; None if the rule is gone."""

    @property
    def id(self) -> str:
        """The same each time this is told, so that a receiver knows what it was told before."""
        return f"{self.fingerprint}-{self.starts_at_ns}-{self.status}"


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return what makes two alerts the same: 16 hexadecimal digits of their labels."""
    text = msgspec.json.encode(sorted(labels.items()))
    return hashlib.sha256(text).hexdigest()[:16]


def iso(time_ns: int) -> str:
    """Return a time as RFC 3339 text in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
