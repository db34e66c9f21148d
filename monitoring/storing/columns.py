"""Decoded records as Arrow tables, column by column.

N records
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from monitoring.storing.record_types import arrow_schema, kind_of


def to_tables(records: Sequence[msgspec.Struct]) -> dict[str, pa.Table]:
    """Return a table for each kind of record that there is, its rows in the order given."""
    by_kind: dict[str, list[msgspec.Struct]] = {}
    for record in records:
        by_kind.setdefault(kind_of(type(record)), []).append(record)
    return {kind: _table(kind, of_kind) for kind, of_kind in by_kind.items()}


def _table(kind: str, records: list[msgspec.Struct]) -> pa.Table:
    schema = arrow_schema(kind)
    arrays = [
        pa.repeat(kind, len(records))
        if field.name == "kind"
        else _array(list(map(attrgetter(field.name), records)), field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Values as one array; structs and maps are taken apart first, as Arrow wants them."""
    if pa.types.is_struct(kind):
        return _struct_array(values, kind)
    if pa.types.is_map(kind):
        values = [None if value is None else list(value.items()) for value in values]
    return pa.array(values, type=kind)


def _struct_array(values: list[Any], kind: pa.StructType) -> pa.Array:
    absent = None in values
    children = [
        _array(
            [None if value is None else getattr(value, field.name) for value in values]
            if absent
            else list(map(attrgetter(field.name), values)),
            field.type,
        )
        for field in kind
    ]
    mask = pa.array([value is None for value in values]) if absent else None
    return pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)
