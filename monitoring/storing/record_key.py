"""Which records are the same one, met twice.

Segments are shipped, copied and restored, so the same line can come again: such lines are equal
byte for byte, hence in every part of the key. The request id alone would be no key: callers choose
ids, and may use one again for another request. So the key holds the client and the time, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from monitoring.storing.connection import reading_parts
from monitoring.storing.ledger import Part
from monitoring.storing.location import Location
from monitoring.storing.record_types import arrow_schema

if TYPE_CHECKING:
    import duckdb

_KEY = (
    "timestamp_ns",
    "request_id",
    "item",
    "model",
    "model_version",
    "role",
    "attempt",
    "client",
)
_BATCH, _PARTS = "batch_keys", "part_keys"


@cache
def key_of(kind: str) -> tuple[str, ...]:
    """The columns that make the key of one kind of record."""
    columns = set(arrow_schema(kind).names)
    return tuple(name for name in _KEY if name in columns)


def without_known(
    connection: duckdb.DuckDBPyConnection,
    location: Location,
    kind: str,
    table: pa.Table,
    parts: Sequence[Part],
    known_table: str = "",
) -> pa.Table:
    """Return the rows of a table that are neither there twice nor known, in their order.

    Known is what lies in the given parts of the store and, if one is named, in a table of the
    connection. Parts whose time span does not touch that of the table are not opened. Raises
    `UserError` for a part that is gone or damaged.
    """
    key = key_of(kind)
    bounds = pc.min_max(table.column("timestamp_ns")).as_py()
    start, end = bounds["min"], bounds["max"] + 1
    near = [part for part in parts if part.kind == kind and part.overlaps(start, end)]
    known = [known_table] if known_table else []
    positions = pa.array(range(len(table)), pa.int64())
    connection.register(_BATCH, table.select(key).append_column("position", positions))
    with reading_parts(location.name):
        if near:
            connection.register(_PARTS, _keys_of_parts(location, kind, near))
            known.append(_PARTS)
        query = connection.sql(_query(key, known), params=[start, end] * len(known))
        kept = query.to_arrow_table()
    connection.unregister(_BATCH)
    if near:
        connection.unregister(_PARTS)
    return table if len(kept) == len(table) else table.take(kept.column(0))


def _keys_of_parts(location: Location, kind: str, parts: Sequence[Part]) -> ds.Dataset:
    schema = pa.schema([arrow_schema(kind).field(name) for name in key_of(kind)])
    paths = [location.path(part.path) for part in parts]
    return ds.dataset(paths, schema, format="parquet", filesystem=location.filesystem)


def _query(key: Sequence[str], known: Sequence[str]) -> str:
    """A query for the positions of new rows; it has two parameters for each known table."""
    columns = ", ".join(key)
    equal = " AND ".join(f"old.{name} IS NOT DISTINCT FROM new.{name}" for name in key)
    seen = [
        f"NOT EXISTS (SELECT 1 FROM (SELECT * FROM {name} "  # noqa: S608 - names of our own
        f"WHERE timestamp_ns >= ? AND timestamp_ns < ?) old WHERE {equal})"
        for name in known
    ]
    return (
        f"WITH new AS (SELECT min(position) AS position, {columns} FROM {_BATCH} "  # noqa: S608
        f"GROUP BY ALL) SELECT position FROM new WHERE {' AND '.join(seen) or 'true'} "
        "ORDER BY position"
    )
