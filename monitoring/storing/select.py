"""Queries written by people: one that reads, of the two views, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
import orjson

from torchkeep.errors import UserError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""A SELECT may hold a COPY, INSERT, UPDATE or DELETE in its WITH: those are other nodes."""
_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
"""Others read files, or run a text that was not looked at here."""


def select(
    connection: DuckDBPyConnection, query: str, parameters: list[Any] | None = None
) -> DuckDBPyConnection:
    """Run one query that only reads; the rows are fetched from what is returned.

    Raises `UserError` for anything else, and with DuckDB's own words for what it does not take.
    """
    with errors_told():
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
            raise UserError(
                "only one query that reads is run", remedy="Write one SELECT, without others."
            )
        _require_reading(connection, statements[0].query)
        return connection.execute(statements[0], parameters)


@contextmanager
def errors_told() -> Iterator[None]:
    """Turn DuckDB's errors into `UserError`; some come only while the rows are fetched."""
    try:
        yield
    except duckdb.Error as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(
            " ".join(lines[:1]).rstrip("."),
            remedy="The views are inference and access; DESCRIBE inference lists its columns.",
        ) from error


def _require_reading(connection: DuckDBPyConnection, query: str) -> None:
    """Raise `UserError` if a SELECT holds something that writes, or that reads elsewhere."""
    answer = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchone()
    tree = orjson.loads(answer[0]) if answer else {"error_message": "it cannot be parsed"}
    if message := tree.get("error_message"):
        raise UserError(f"only a query that reads is run: {message}", remedy="Write one SELECT.")
    for node in _objects(tree):
        kind = str(node.get("type"))
        if kind.endswith("_NODE") and kind not in _READING_NODES:
            what = kind.removesuffix("_NODE").removesuffix("_QUERY")
            raise UserError(
                f"only a query that reads is run, and it holds {what}", remedy="Leave that out."
            )
        if kind == "TABLE_FUNCTION":
            name = str(node["function"].get("function_name", "")).lower()
            if name not in _TABLE_FUNCTIONS:
                raise UserError(
                    f"the table function {name} is not run: a query reads the log alone",
                    remedy="The views are inference and access.",
                )


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects of a parsed query, from without to within."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
