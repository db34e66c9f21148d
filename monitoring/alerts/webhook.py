"""Alerts to a webhook: JSON, signed with a shared key if there is one.

    POST  {"version": 1, "alerts": [{"id", "status", "fingerprint", "labels", "annotations",
                                     "startsAt", "endsAt", "value"}, ...]}
    X-Torchkeep-Signature: t=SECONDS,v1=HEX      HMAC-SHA256 of b"SECONDS." + body

An event may come twice (the answer got lost), then with the same `id`; events of one alert come in
order. A receiver should refuse a signature whose time is not now: somebody may replay it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from monitoring.alerts.events import Event, iso
from monitoring.alerts.http_post import Poster
from monitoring.alerts.sinks import Outcome
from torchkeep.keys import KeyFileError, read_private

SIGNATURE = "x-torchkeep-signature"
_AT_ONCE = 200
_LONGEST_KEY = 4096
_SHORTEST_KEY = 16
_NS = 1_000_000_000


class Webhook:
    """Tells each event once it happens."""

    name = "webhook"
    repeats = False

    def __init__(self, poster: Poster, *, key: bytes | None = None) -> None:
        """Post with `poster`, and sign with `key`."""
        self._poster = poster
        self._key = key

    async def deliver(self, events: Sequence[Event], now_ns: int) -> Outcome:
        """Post the events in pieces, oldest first, up to the first that is not accepted."""
        for start in range(0, len(events), _AT_ONCE):
            piece = events[start : start + _AT_ONCE]
            body = orjson.dumps({"version": 1, "alerts": [_as_json(event) for event in piece]})
            if fault := await self._poster.post(body, self._signature(body, now_ns)):
                return Outcome(start, fault)
        return Outcome(len(events))

    def _signature(self, body: bytes, now_ns: int) -> dict[str, str]:
        if self._key is None:
            return {}
        return {SIGNATURE: signature(self._key, body, now_ns // _NS)}


def signature(key: bytes, body: bytes, seconds: int) -> str:
    """Return the header's value for a body sent at `seconds` since 1970."""
    digest = hmac.new(key, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def read_webhook_key(path: Path) -> bytes:
    """Return the key in a file; raises `KeyFileError` if others may read it, or it is too short."""
    key = read_private(path, most=_LONGEST_KEY)[0].strip()
    if len(key) < _SHORTEST_KEY:
        raise KeyFileError(
            f"{path} holds fewer than {_SHORTEST_KEY} bytes",
            remedy=f"Run `openssl rand -hex 32 > {path}`.",
        )
    return key


def _as_json(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "status": event.status.value,
        "fingerprint": event.fingerprint,
        "labels": event.labels,
        "annotations": event.annotations,
        "startsAt": iso(event.starts_at_ns),
        "endsAt": None if event.ends_at_ns is None else iso(event.ends_at_ns),
        "value": event.value,
    }
