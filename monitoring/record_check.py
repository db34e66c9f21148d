"""Checks a record against the schema: for tests, and for tools that take records from elsewhere."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, is_typeddict

from monitoring.field_types import alternatives, nested_record, type_name
from torchkeep.schema import LOGGED, SCHEMA_VERSION, InferenceRecord, fields_of


def check_record(record: Mapping[str, Any], schema: type | None = None) -> list[str]:
    """Return what is wrong with a record, one line a fault; an empty list if nothing is.

    Without a schema, that of the record's kind counts. Works on a record as it is written (with
    numpy arrays) and as it is read back (with lists).
    """
    schema = schema or LOGGED.get(str(record.get("kind")), InferenceRecord)
    faults = list(_check_fields(record, schema, ""))
    version = record.get("schema")
    if isinstance(version, int) and version != SCHEMA_VERSION:
        faults.append(f"schema is {version}, expected {SCHEMA_VERSION}")
    return faults


def _check_fields(record: Mapping[str, Any], schema: type, prefix: str) -> Iterator[str]:
    fields = fields_of(schema)
    names = {field.name for field in fields}
    yield from (f"{prefix}{name} is not a field" for name in record if name not in names)
    for field in fields:
        if field.name in record:
            yield from _check(record[field.name], field.type, prefix + field.name)
        elif field.required:
            yield f"{prefix}{field.name} is missing"


def _check(value: Any, kind: Any, name: str) -> Iterator[str]:
    nested = nested_record(kind)
    if nested is not None and isinstance(value, Mapping):
        yield from _check_fields(value, nested, f"{name}.")
    elif not _fits(value, kind):
        yield f"{name} is {reprlib.repr(value)}, expected {type_name(kind)}"


def _fits(value: Any, kind: Any) -> bool:
    return any(_fits_one(value, one) for one in alternatives(kind))


def _fits_one(value: Any, kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        return isinstance(value, Mapping) and not any(_check_fields(value, kind, ""))
    if origin is Literal:
        return value in arguments
    if origin is Sequence:
        return isinstance(value, list | tuple) and all(_fits(one, arguments[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(key, arguments[0]) and _fits(one, arguments[1]) for key, one in value.items()
        )
    if kind in (int, float):
        return isinstance(value, (kind, int)) and not isinstance(value, bool)
    return isinstance(value, origin or kind)
