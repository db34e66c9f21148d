"""The schema as types that a decoder checks lines against, and as Arrow types.

Both follow from `torchkeep.schema`. A number may be null anywhere, because that is how the log
writes one that is not finite. Lists of numbers are kept in single precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, is_typeddict

import msgspec
import pyarrow as pa

from monitoring.field_types import alternatives
from torchkeep.schema import LOGGED, SCHEMA_VERSION, FieldSpec, fields_of

YEAR_2200_NS = 7_258_118_400_000_000_000
"""A later timestamp cannot be one: it would hardly fit into 64 bits."""
FLOAT32_MAX = 3.4028234e38
"""A larger number in a list would become infinite."""

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Single = Annotated[float, msgspec.Meta(ge=-FLOAT32_MAX, le=FLOAT32_MAX)]
_Time = Annotated[int, msgspec.Meta(gt=0, lt=YEAR_2200_NS)]


@cache
def decoder(*, strict: bool) -> msgspec.json.Decoder[Any]:
    """A decoder of lines to structs of either kind; a strict one refuses unknown fields.

    What it refuses raises `msgspec.MsgspecError`, or `UnicodeDecodeError` for what is not UTF-8.
    """
    kinds = [_struct(schema, kind, strict) for kind, schema in LOGGED.items()]
    return msgspec.json.Decoder(kinds[0] | kinds[1])


def kind_of(struct: type[msgspec.Struct]) -> str:
    """The kind of the records that a decoder made of this type."""
    return str(struct.__struct_config__.tag)


@cache
def arrow_schema(kind: str) -> pa.Schema:
    """The columns of one kind of record, in the schema's order; optional ones may be null."""
    return pa.schema(_arrow_fields(LOGGED[kind]))


@cache
def required_fields(kind: str) -> frozenset[str]:
    """The names of the fields that a record of this kind always has."""
    return frozenset(field.name for field in fields_of(LOGGED[kind]) if field.required)


def _struct(schema: type, kind: str | None, strict: bool) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for field in fields_of(schema):
        if kind is None or field.name != "kind":
            fields.append(_struct_field(field, strict))
    tag: dict[str, Any] = {"tag_field": "kind", "tag": kind} if kind else {}
    return msgspec.defstruct(
        schema.__name__,
        fields,
        kw_only=True,
        eq=False,
        gc=False,
        forbid_unknown_fields=strict,
        **tag,
    )


def _struct_field(field: FieldSpec, strict: bool) -> tuple[Any, ...]:
    if field.name == "timestamp_ns":
        return field.name, _Time
    if field.name == "schema":
        return field.name, Literal[SCHEMA_VERSION]
    kind = _checked_type(field.type, strict)
    return (field.name, kind) if field.required else (field.name, kind | None, None)


def _checked_type(hint: Any, strict: bool) -> Any:
    kind = _without_none(hint)
    nullable = kind is float or type(None) in alternatives(hint)
    checked = _checked(kind, strict)
    return checked | None if nullable else checked


def _checked(kind: Any, strict: bool) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        return _struct(kind, None, strict)
    if origin is Literal:
        return str
    if origin is Sequence:
        inner = _checked_type(arguments[0], strict)
        return list[_Single | None] if arguments[0] is float else list[inner]  # type: ignore[valid-type]
    if origin is dict:
        return dict[str, _checked_type(arguments[1], strict)]  # type: ignore[misc]
    return _Int64 if kind is int else kind


def _arrow_fields(schema: type) -> list[pa.Field]:
    return [pa.field(field.name, _arrow_type(field.type)) for field in fields_of(schema)]


def _arrow_type(hint: Any) -> pa.DataType:
    kind = _without_none(hint)
    origin, arguments = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        return pa.struct(_arrow_fields(kind))
    if origin is Sequence:
        return pa.list_(pa.float32() if arguments[0] is float else _arrow_type(arguments[0]))
    if origin is dict:
        return pa.map_(pa.string(), _arrow_type(arguments[1]))
    return {int: pa.int64(), float: pa.float64()}.get(kind, pa.string())


def _without_none(hint: Any) -> Any:
    """The type of a value that is there; of a list and an array, the list."""
    return next(one for one in alternatives(hint) if one is not type(None))
