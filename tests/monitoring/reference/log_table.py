"""The view `inference` of a log store, made of records that a test has in hand."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import orjson

_COLUMNS = {
    "timestamp_ns": "BIGINT",
    "request_id": "VARCHAR",
    "correlation_id": "VARCHAR",
    "session_id": "VARCHAR",
    "model": "VARCHAR",
    "model_version": "VARCHAR",
    "role": "VARCHAR",
    "attempt": "BIGINT",
    "item": "BIGINT",
    "status": "VARCHAR",
    "code_version": "VARCHAR",
    "client": "VARCHAR",
    "request_type": "STRUCT(protocol VARCHAR, content_type VARCHAR, format VARCHAR, "
    "operation VARCHAR)",
    "prediction": "VARCHAR[]",
    "probability": "DOUBLE[]",
    "embedding": "VARCHAR",
    "screening": "STRUCT(verdict VARCHAR, score DOUBLE)",
    "input_data_summary": "STRUCT(shape BIGINT[], mean DOUBLE[], std DOUBLE[], min DOUBLE[], "
    "max DOUBLE[], histogram BIGINT[], sharpness DOUBLE)",
}


def table_of(records: Iterable[Mapping[str, Any]]) -> duckdb.DuckDBPyConnection:
    """Return a connection with the table `inference` of these records."""
    connection = duckdb.connect(config={"threads": 1})
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    connection.execute(f"CREATE TABLE inference ({columns})")
    names = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in _COLUMNS.items()) + "}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        lines = (orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY) for record in records)
        path.write_bytes(b"\n".join(lines))
        connection.execute(
            "INSERT INTO inference BY NAME SELECT * FROM "  # noqa: S608
            f"read_json('{path}', format = 'newline_delimited', columns = {names})"
        )
    return connection
