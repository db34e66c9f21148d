"""A record as one row of plain columns: `runtime_ms.total` instead of a struct within."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from monitoring.storing.record_types import arrow_schema

TIMES = ("time", "date")


def flat_columns(kind: str, *, lists_as_text: bool = False) -> str:
    """The SQL of the columns of a kind: structs taken apart, `time` first.

    Lists and maps stay as they are or, as text, become JSON.
    """
    leaves = [leaf for field in arrow_schema(kind) for leaf in _leaves(field, ())]
    columns = [_column(path, leaf, lists_as_text) for path, leaf in leaves]
    return ", ".join([*TIMES, *columns])


def _leaves(field: pa.Field, outer: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], pa.Field]]:
    path = (*outer, field.name)
    if pa.types.is_struct(field.type):
        for inner in field.type:
            yield from _leaves(inner, path)
    else:
        yield path, field


def _column(path: tuple[str, ...], field: pa.Field, lists_as_text: bool) -> str:
    value = ".".join(f'"{name}"' for name in path)
    if lists_as_text and (pa.types.is_list(field.type) or pa.types.is_map(field.type)):
        value = f"to_json({value})::VARCHAR"
    return f'{value} AS "{".".join(path)}"'
