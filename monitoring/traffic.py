"""How much came, how much of it at once, and what became of it; computed by DuckDB."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from monitoring.clock import CLOCK_TOLERANCE_NS
from monitoring.time_span import span_of
from torchkeep.schema import ItemStatus, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """Requests under way at the same time; by begin and end of each, as the gateway logged them."""

    largest: int
    mean: float
    """Arrivals a second times mean seconds in the system (Little 1961)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficReport:
    """Requests of one model and their items; a share of nothing is None."""

    requests: int
    items: int
    span_s: float
    """Seconds from the first to the last record."""
    requests_per_s: float | None
    items_per_s: float | None
    busiest_minute: int
    """Requests in the minute that had most of them."""
    concurrency: Concurrency | None
    codes: Mapping[str, int]
    """Requests by code, as gRPC names them."""
    errors: int
    """Requests that failed by a fault of the server: HTTP status 500 and above."""
    error_share: float | None
    refused_share: float | None
    """Share refused because too much was waiting: HTTP status 429."""
    unattributed: int
    """Requests that did not come so far as to name a model; in no other figure."""
    statuses: Mapping[str, int]
    """Items by status."""
    verdicts: Mapping[str, int]
    """Screened items by verdict."""
    suspicious_share: float | None
    """Share of the screened items that are suspicious, or could not be judged."""
    rejected_share: float | None
    """Share of the items that screening kept from an answer."""
    lost: int
    """Records of any model that a full disk kept from the log."""
    future: int
    """Records dated after now: a clock is wrong. They are in no other figure."""


def traffic(
    connection: duckdb.DuckDBPyConnection,
    *,
    model: str,
    start_ns: int | None = None,
    end_ns: int | None = None,
    now_ns: int | None = None,
) -> TrafficReport:
    """Report the traffic of one model between `start_ns` and `end_ns` (UTC, ns)."""
    limit = (time.time_ns() if now_ns is None else now_ns) + CLOCK_TOLERANCE_NS
    asked = span_of(model, start_ns, end_ns)
    span = span_of(model, start_ns, limit if end_ns is None else min(end_ns, limit))
    requests, errors, refused, first, last = _row(connection, _REQUESTS, span)
    items, first_item, last_item = _row(connection, _ITEMS, span)
    statuses = _counts(connection, _STATUSES, span)
    verdicts = _counts(connection, _VERDICTS, span)
    seconds = _seconds([first, first_item], [last, last_item])
    screened = sum(verdicts.values())
    return TrafficReport(
        requests=requests,
        items=items,
        span_s=seconds,
        requests_per_s=_share(requests, seconds),
        items_per_s=_share(items, seconds),
        busiest_minute=_row(connection, _BUSIEST, span)[0] or 0,
        concurrency=concurrency(connection, span),
        codes=_counts(connection, _CODES, span),
        errors=errors,
        error_share=_share(errors, requests),
        refused_share=_share(refused, requests),
        unattributed=_row(connection, _REQUESTS, {**span, "model": ""})[0],
        statuses=statuses,
        verdicts=verdicts,
        suspicious_share=_share(screened - verdicts.get(Verdict.CLEAN, 0), screened),
        rejected_share=_share(statuses.get(ItemStatus.REJECTED, 0), items),
        lost=sum(_row(connection, query, _without_model(span))[0] or 0 for query in _LOST),
        future=sum(_row(connection, query, {**asked, "limit": limit})[0] for query in _FUTURE),
    )


_REQUESTS = """
    SELECT
        count(*), count(*) FILTER (http_status >= 500), count(*) FILTER (http_status = 429),
        min(timestamp_ns), max(timestamp_ns)
    FROM access WHERE model = $model AND timestamp_ns >= $start AND timestamp_ns < $end
"""
_ITEMS = """
    SELECT count(*), min(timestamp_ns), max(timestamp_ns)
    FROM inference WHERE model = $model AND timestamp_ns >= $start AND timestamp_ns < $end
"""
_BUSIEST = """
    SELECT max(requests) FROM (
        SELECT count(*) AS requests
        FROM access WHERE model = $model AND timestamp_ns >= $start AND timestamp_ns < $end
        GROUP BY timestamp_ns // 60000000000
    )
"""
_CODES = """
    SELECT code, count(*)
    FROM access WHERE model = $model AND timestamp_ns >= $start AND timestamp_ns < $end
    GROUP BY code ORDER BY code
"""
_STATUSES = """
    SELECT status, count(*)
    FROM inference WHERE model = $model AND timestamp_ns >= $start AND timestamp_ns < $end
    GROUP BY status ORDER BY status
"""
_VERDICTS = """
    SELECT screening.verdict AS verdict, count(*)
    FROM inference WHERE model = $model AND timestamp_ns >= $start AND timestamp_ns < $end
        AND screening IS NOT NULL
    GROUP BY verdict ORDER BY verdict
"""
_LOST = (
    """
    SELECT sum(dropped_before) FROM access
    WHERE timestamp_ns >= $start AND timestamp_ns < $end
    """,
    """
    SELECT sum(dropped_before) FROM inference
    WHERE timestamp_ns >= $start AND timestamp_ns < $end
    """,
)
_FUTURE = (
    """
    SELECT count(*) FROM access
    WHERE model = $model AND timestamp_ns >= greatest($start, $limit) AND timestamp_ns < $end
    """,
    """
    SELECT count(*) FROM inference
    WHERE model = $model AND timestamp_ns >= greatest($start, $limit) AND timestamp_ns < $end
    """,
)
_TIMES = """
    SELECT timestamp_ns - CAST(total_ms * 1000000 AS BIGINT) AS start, timestamp_ns AS finish
    FROM access WHERE model = $model AND timestamp_ns >= $start AND timestamp_ns < $end
        AND total_ms >= 0 AND total_ms < 1e9
"""


def concurrency(
    connection: duckdb.DuckDBPyConnection, span: dict[str, object]
) -> Concurrency | None:
    """Sweep over begins and ends; a request that ends when another begins is not beside it."""
    times = connection.execute(_TIMES, span).fetchnumpy()
    begin, end = np.sort(times["start"]), np.sort(times["finish"])
    if not len(begin):
        return None
    seconds = (int(end[-1]) - int(begin[0])) / 1e9
    under_way = np.arange(1, len(begin) + 1) - np.searchsorted(end, begin, side="right")
    in_system = float((end - begin).astype(np.float64).sum()) / 1e9
    return Concurrency(
        largest=int(under_way.max()), mean=in_system / seconds if seconds else float(len(begin))
    )


def _row(connection: duckdb.DuckDBPyConnection, query: str, span: dict[str, object]) -> Any:
    return connection.execute(query, span).fetchone()


def _counts(
    connection: duckdb.DuckDBPyConnection, query: str, span: dict[str, object]
) -> dict[str, int]:
    return dict(connection.execute(query, span).fetchall())


def _without_model(span: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in span.items() if name != "model"}


def _seconds(first: list[int | None], last: list[int | None]) -> float:
    starts = [time for time in first if time is not None]
    ends = [time for time in last if time is not None]
    return (max(ends) - min(starts)) / 1e9 if starts else 0.0


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
