"""DuckDB connections: in memory, spilling to a temporary folder that goes with them."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

import duckdb


def open_connection() -> duckdb.DuckDBPyConnection:
    """Open a new database in memory; what does not fit goes to a folder of its own in /tmp."""
    spill = Path(tempfile.gettempdir()) / f"torchkeep-duckdb-{uuid.uuid4().hex}"
    config: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": str(spill),
        "python_enable_replacements": "false",
    }
    return duckdb.connect(":memory:", config=config)


def lock(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> None:
    """Let a connection read these files, and no others, from now on; nothing can undo that."""
    allowed = ", ".join(quoted(path) for path in files)
    connection.execute(f"SET allowed_paths = [{allowed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
