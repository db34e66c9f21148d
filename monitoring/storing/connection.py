"""DuckDB connections: in memory, spilling to a temporary folder that goes with them."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from torchkeep.errors import UserError


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


@contextmanager
def reading_parts(store: str) -> Iterator[None]:
    """Turn what is said of a part that is gone or damaged into `UserError`."""
    try:
        yield
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        raise UserError(
            f"log store {store}: {str(error).splitlines()[0]}",
            remedy="Restore the file; the ledger names it.",
        ) from error


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
