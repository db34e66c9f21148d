"""Request logs for tests of the store: written by the real log, or line by line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from monitoring.request_log import Record, RequestLog, RequestLogConfig
from monitoring.store import LogStore

DAY_NS = 86_400 * 1_000_000_000
NOON_NS = 1_769_860_800 * 1_000_000_000
"""2026-01-31 12:00:00 UTC."""


def log_of(directory: Path, *batches: list[Record]) -> Path:
    """Write each batch as a closed segment of its own; returns the directory."""
    for batch in batches:
        with RequestLog(RequestLogConfig(), directory=directory) as log:
            log.write(batch)
    return directory


def segment_of(directory: Path, lines: Iterable[bytes], number: int = 0) -> Path:
    """Write lines, whatever they are, as a closed segment; returns its path."""
    directory.mkdir(exist_ok=True, mode=0o700)
    path = directory / f"host-1-{1_000 + number}-000000.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def line(record: Mapping[str, Any], **changes: Any) -> bytes:
    """Return a record as a line, with some of its fields changed."""
    return orjson.dumps({**record, **changes}, option=orjson.OPT_APPEND_NEWLINE)


def rows(store: LogStore, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with store.connect() as connection:
        return connection.execute(query).fetchall()


def ids(store: LogStore, kind: str = "inference") -> list[str]:
    """Return the request ids of all records of a kind, sorted."""
    return [row[0] for row in rows(store, f"SELECT request_id FROM {kind} ORDER BY 1")]  # noqa: S608
