"""Queries written by people: one that reads, of the two views, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

from torchkeep.errors import UserError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_READING = frozenset({duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN})


def select(
    connection: DuckDBPyConnection, query: str, parameters: list[Any] | None = None
) -> DuckDBPyConnection:
    """Run one query that only reads; the rows are fetched from what is returned.

    Raises `UserError` for anything else, and with DuckDB's own words for what it does not take.
    """
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type not in _READING:
            raise UserError(
                "only one query that reads is run", remedy="Write one SELECT, without others."
            )
        return connection.execute(statements[0], parameters)
    except duckdb.Error as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(
            " ".join(lines[:1]).rstrip("."),
            remedy="The views are inference and access; DESCRIBE inference lists its columns.",
        ) from error
