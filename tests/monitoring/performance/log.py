"""A request log with records of one's choosing, asked through the log store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from monitoring.request_log import RequestLog, RequestLogConfig
from monitoring.store import LogStore


@contextmanager
def logged(
    folder: Path, *, access: Sequence[Any] = (), inference: Sequence[Any] = ()
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Write the records as gateway and handler do, and connect to the store beside the log."""
    for records in (access, inference):
        with RequestLog(RequestLogConfig(directory=folder / "log")) as log:
            log.write(records)
    with LogStore(folder / "store", folder / "log").connect() as connection:
        yield connection
