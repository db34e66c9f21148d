"""Where the time goes: percentiles by hour, version and protocol, computed by DuckDB.

Two tables, for there are two kinds of record. Of *requests* (access records): the wait for a call
to TorchServe (`queue`), that call (`backend`), all of it (`total`). Of *items* (inference records):
`decode`, `screen_predict` and `handler`, all of the call in the worker; an item counts the time of
the call it was part of. The protocol of an item that came through the gateway is `gateway`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import duckdb

from monitoring.time_span import span_of


class Stage(StrEnum):
    """A part of the way of a request."""

    QUEUE = "queue"
    BACKEND = "backend"
    TOTAL = "total"
    DECODE = "decode"
    SCREEN_PREDICT = "screen_predict"
    HANDLER = "handler"


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Milliseconds; over `count` values."""

    count: int
    p50: float
    p95: float
    p99: float
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """One hour of one version over one protocol; a stage without a value is absent."""

    hour_ns: int  # start of the hour, UTC
    version: str
    protocol: str
    stages: dict[Stage, Percentiles]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport:
    """Percentiles of the whole span and by hour."""

    overall: dict[Stage, Percentiles]
    by_hour: tuple[LatencyRow, ...]
    implausible: int
    """Records left out whose times are negative or no numbers."""


def latency(
    connection: duckdb.DuckDBPyConnection,
    *,
    model: str,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> LatencyReport:
    """Report the times of one model's records between `start_ns` and `end_ns` (UTC, ns)."""
    span = span_of(model, start_ns, end_ns)
    overall: dict[Stage, Percentiles] = {}
    for row in _rows(connection, {**span, "hourly": False}):
        overall |= row.stages
    return LatencyReport(
        overall=overall,
        by_hour=latency_by_hour(connection, model=model, start_ns=start_ns, end_ns=end_ns),
        implausible=sum(_count(connection, query, span) for query in (_BAD_REQUESTS, _BAD_ITEMS)),
    )


def latency_by_hour(
    connection: duckdb.DuckDBPyConnection,
    *,
    model: str,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> tuple[LatencyRow, ...]:
    """Return the percentiles by hour, version and protocol alone, in that order."""
    by_hour: dict[tuple[int, str, str], dict[Stage, Percentiles]] = {}
    for row in _rows(connection, {**span_of(model, start_ns, end_ns), "hourly": True}):
        by_hour.setdefault((row.hour_ns, row.version, row.protocol), {}).update(row.stages)
    return tuple(
        LatencyRow(hour_ns=hour, version=version, protocol=protocol, stages=stages)
        for (hour, version, protocol), stages in sorted(by_hour.items())
    )


_REQUEST_STAGES = (Stage.QUEUE, Stage.BACKEND, Stage.TOTAL)
_ITEM_STAGES = (Stage.DECODE, Stage.SCREEN_PREDICT, Stage.HANDLER)

_REQUESTS = """
    SELECT
        CASE WHEN $hourly THEN timestamp_ns - timestamp_ns % 3600000000000 ELSE 0 END AS hour,
        CASE WHEN $hourly THEN coalesce(model_version, '') ELSE '' END AS version,
        CASE WHEN $hourly THEN coalesce(protocol, '') ELSE '' END AS way,
        count(*),
        quantile_cont(queue_ms, [0.5, 0.95, 0.99]), max(queue_ms),
        quantile_cont(backend_ms, [0.5, 0.95, 0.99]), max(backend_ms),
        quantile_cont(total_ms, [0.5, 0.95, 0.99]), max(total_ms)
    FROM access
    WHERE model = $model AND timestamp_ns >= $start AND timestamp_ns < $end
        AND operation = 'predict'
        AND (batch_size > 0 OR queue_ms > 0)
        AND queue_ms >= 0 AND backend_ms >= 0 AND total_ms >= 0
        AND isfinite(queue_ms + backend_ms + total_ms)
    GROUP BY hour, version, way
"""
_ITEMS = """
    SELECT
        CASE WHEN $hourly THEN timestamp_ns - timestamp_ns % 3600000000000 ELSE 0 END AS hour,
        CASE WHEN $hourly THEN coalesce(model_version, '') ELSE '' END AS version,
        CASE WHEN $hourly THEN coalesce(request_type.protocol, '') ELSE '' END AS way,
        count(*),
        quantile_cont(runtime_ms.decode, [0.5, 0.95, 0.99]), max(runtime_ms.decode),
        quantile_cont(runtime_ms.screen_predict, [0.5, 0.95, 0.99]), max(runtime_ms.screen_predict),
        quantile_cont(runtime_ms.total, [0.5, 0.95, 0.99]), max(runtime_ms.total)
    FROM inference
    WHERE model = $model AND timestamp_ns >= $start AND timestamp_ns < $end
        AND request_type.operation = 'predict'
        AND runtime_ms.decode >= 0 AND runtime_ms.screen_predict >= 0 AND runtime_ms.total >= 0
        AND isfinite(runtime_ms.decode + runtime_ms.screen_predict + runtime_ms.total)
    GROUP BY hour, version, way
"""
_BAD_REQUESTS = """
    SELECT count(*) FROM access
    WHERE model = $model AND timestamp_ns >= $start AND timestamp_ns < $end
        AND (queue_ms >= 0 AND backend_ms >= 0 AND total_ms >= 0
            AND isfinite(queue_ms + backend_ms + total_ms)) IS NOT TRUE
"""
_BAD_ITEMS = """
    SELECT count(*) FROM inference
    WHERE model = $model AND timestamp_ns >= $start AND timestamp_ns < $end
        AND (runtime_ms.decode >= 0 AND runtime_ms.screen_predict >= 0 AND runtime_ms.total >= 0
            AND isfinite(runtime_ms.decode + runtime_ms.screen_predict + runtime_ms.total))
            IS NOT TRUE
"""


def _rows(connection: duckdb.DuckDBPyConnection, asked: dict[str, object]) -> Iterator[LatencyRow]:
    """The groups of both queries; unless `hourly`, all is one group of hour 0."""
    for query, stages in ((_REQUESTS, _REQUEST_STAGES), (_ITEMS, _ITEM_STAGES)):
        for hour, version, protocol, count, *values in connection.execute(query, asked).fetchall():
            found = _percentiles(stages, count, values)
            yield LatencyRow(hour_ns=hour, version=version, protocol=protocol, stages=found)


def _percentiles(
    stages: tuple[Stage, ...], count: int, values: list[Any]
) -> dict[Stage, Percentiles]:
    """Values alternate: the three percentiles of a stage, then its maximum."""
    return {
        stage: Percentiles(count=count, p50=p50, p95=p95, p99=p99, largest=largest)
        for stage, (p50, p95, p99), largest in zip(stages, values[::2], values[1::2], strict=True)
    }


def _count(connection: duckdb.DuckDBPyConnection, query: str, span: dict[str, object]) -> int:
    row = connection.execute(query, span).fetchone()
    return int(row[0]) if row else 0
