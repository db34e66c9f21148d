"""Which records a look is at, as the command line says it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from monitoring.health import Span
from torchkeep.errors import SettingsError
from torchkeep.ids import valid_id

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_NANOSECONDS = 1_000_000_000


def parse_span(
    since: str | None,
    until: str | None,
    last: int | None,
    version: str | None,
    correlation_id: str | None,
    *,
    now_ns: int,
) -> Span:
    """Read what was asked for; raises `SettingsError` for what is no time."""
    start = None if since is None else parse_time(since, now_ns, "--since")
    end = None if until is None else parse_time(until, now_ns, "--until")
    if start is not None and end is not None and start >= end:
        raise SettingsError(f"--since {since} is not before --until {until}")
    if correlation_id is not None and valid_id(correlation_id) is None:
        raise SettingsError(
            f"--correlation-id {correlation_id!r} is no id",
            remedy="Use 1 to 128 letters, digits, '.', '_', ':' and '-'.",
        )
    return Span(
        start_ns=start,
        end_ns=end,
        last=last,
        version=version or "",
        correlation_id=correlation_id or "",
    )


def parse_time(text: str, now_ns: int, option: str) -> int:
    """Return a time in ns: `24h` before now, or an ISO date and time (UTC unless it says)."""
    if text == "now":
        return now_ns
    if match := _SPAN.fullmatch(text.strip().lower()):
        return now_ns - round(float(match[1]) * _SECONDS[match[2]] * _NANOSECONDS)
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * _NANOSECONDS)
    except (ValueError, OverflowError) as error:
        raise SettingsError(
            f"{option} {text!r} is no time",
            remedy="Give one such as 90m, 24h, 7d or 2026-11-24T12:00.",
        ) from error
