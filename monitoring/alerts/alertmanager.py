"""Alerts to Prometheus' Alertmanager, by its API v2 (POST /api/v2/alerts).

Alertmanager groups, silences and routes. It wants to hear of a firing alert again and again, and
takes it for over when it has not for a while: each firing alert is posted at every evaluation, with
an end that lies ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from monitoring.alerts.events import Event, iso
from monitoring.alerts.http_post import Poster
from monitoring.alerts.sinks import Outcome

PATH = "/api/v2/alerts"
_NS = 1_000_000_000


class Alertmanager:
    """Tells how alerts stand."""

    name = "alertmanager"
    repeats = True

    def __init__(self, poster: Poster, *, stale_s: float) -> None:
        """Post with `poster`; a firing alert ends `stale_s` after it was last told of."""
        self._poster = poster
        self._stale_s = stale_s

    async def deliver(self, events: Sequence[Event], now_ns: int) -> Outcome:
        """Post the last event of each alert: what was before is over anyway."""
        latest = {event.fingerprint: event for event in events}
        ahead = now_ns + int(self._stale_s * _NS)
        body = orjson.dumps([_as_json(event, ahead) for event in latest.values()])
        fault = await self._poster.post(body, {}) if latest else ""
        return Outcome(0, fault) if fault else Outcome(len(events))


def _as_json(event: Event, ahead_ns: int) -> dict[str, Any]:
    return {
        "labels": event.labels,
        "annotations": event.annotations,
        "startsAt": iso(event.starts_at_ns),
        "endsAt": iso(ahead_ns if event.ends_at_ns is None else event.ends_at_ns),
    }
