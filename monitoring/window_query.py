"""The SQL that selects the items of a window from the view `inference`, and counts the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torchkeep.schema import Operation, Role

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# What else was asked of the model is told apart here; a later attempt makes an earlier one void.
# Retried items are few, so they are looked for by themselves; callers may use an id again, but
# hardly while the server still tries.
_ASKED = """
WITH found AS (
    SELECT *, role IS NOT DISTINCT FROM $role AS answering,
        request_type.operation IS NOT DISTINCT FROM $operation AS predicting
    FROM inference WHERE {conditions}
),
retried AS (
    SELECT request_id, item, client, attempt, timestamp_ns
    FROM found WHERE answering AND predicting AND attempt > 1
),
asked AS (
    SELECT *, EXISTS (
        FROM retried WHERE retried.request_id = found.request_id AND retried.item = found.item
            AND retried.client IS NOT DISTINCT FROM found.client
            AND retried.attempt > found.attempt
            AND abs(retried.timestamp_ns - found.timestamp_ns) < 3_600_000_000_000
    ) AS superseded
    FROM found
)
"""
_COUNTS = """
SELECT count(*), count(*) FILTER (NOT answering), count(*) FILTER (answering AND NOT predicting),
    count(*) FILTER (answering AND predicting AND superseded)
FROM asked
"""
_ROWS = """
SELECT timestamp_ns, model_version AS version, request_id, item, client, status, code_version,
    coalesce(session_id, {correlated}) AS session,
    request_type.format AS input_format,
    screening.verdict AS verdict,
    screening.score AS score,
    prediction, probability,
    embedding IS NOT NULL AS embedded,
    TRY(from_base64(embedding)) AS embedding,
    len(input_data_summary.shape) > 0 AS summarised,
    input_data_summary.mean AS mean,
    input_data_summary.std AS std,
    input_data_summary.min AS min,
    input_data_summary.max AS max,
    input_data_summary.histogram AS histogram,
    input_data_summary.sharpness AS sharpness
FROM asked WHERE answering AND predicting AND NOT superseded
"""
_LAST = "ORDER BY timestamp_ns DESC, request_id DESC, item DESC LIMIT $last"
_ORDERED = "SELECT * FROM ({rows}) ORDER BY timestamp_ns, request_id, item"
_CORRELATED = "CASE WHEN correlation_id <> '' THEN concat('correlation id ', correlation_id) END"


class LeftOut(NamedTuple):
    """Items that were found and are not of the window."""

    found: int
    other_role: int
    explained: int
    superseded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowQuery:
    """Which items are wanted; what is None does not matter."""

    model: str
    start_ns: int | None
    end_ns: int | None
    version: str | None
    correlation_id: str | None
    last: int | None

    def counts(self, connection: duckdb.DuckDBPyConnection) -> LeftOut:
        """Count what the log holds of this and what of it is no plain prediction."""
        counted = connection.sql(self._asked() + _COUNTS, params=self._values()).fetchall()
        return LeftOut(*counted[0])

    def rows(self, connection: duckdb.DuckDBPyConnection) -> pa.Table:
        """Return the items, the oldest first."""
        # who names one correlation id asks for all of it, not for one sample of it
        session = "NULL" if self.correlation_id is not None else _CORRELATED
        rows = _ROWS.format(correlated=session) + ("" if self.last is None else _LAST)
        values = self._values() | ({} if self.last is None else {"last": self.last})
        sql = self._asked() + _ORDERED.format(rows=rows)
        return connection.sql(sql, params=values).to_arrow_table()

    def _asked(self) -> str:
        conditions = {
            "model = $model": self.model,
            "timestamp_ns >= $start_ns": self.start_ns,
            "timestamp_ns < $end_ns": self.end_ns,
            "model_version = $version": self.version,
            "correlation_id = $correlation_id": self.correlation_id,
        }
        wanted = (sql for sql, value in conditions.items() if value is not None)
        return _ASKED.format(conditions=" AND ".join(wanted))

    def _values(self) -> dict[str, str | int]:
        values: dict[str, str | int | None] = {
            "model": self.model,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "version": self.version,
            "correlation_id": self.correlation_id,
            "role": Role.DEFAULT.value,
            "operation": Operation.PREDICT.value,
        }
        return {name: value for name, value in values.items() if value is not None}
