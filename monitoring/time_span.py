"""A span of time as parameters of a query on the log's views."""

from __future__ import annotations

_FIRST_NS = -(2**63)
_LAST_NS = 2**63 - 1


def span_of(model: str, start_ns: int | None, end_ns: int | None) -> dict[str, object]:
    """Return the parameters `model`, `start` (inclusive) and `end` (exclusive); None: unbounded."""
    return {
        "model": model,
        "start": _FIRST_NS if start_ns is None else start_ns,
        "end": _LAST_NS if end_ns is None else end_ns,
    }
