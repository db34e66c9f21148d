"""The types that occur in the schema: taken apart, and named as people and JSON know them."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin, is_typeddict

import numpy as np

_WORDS = {int: "whole number", float: "number", str: "text", type(None): "null"}


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of a union; of another type, itself alone."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def nested_record(kind: Any) -> type | None:
    """The `TypedDict` among the alternatives of a type, if there is one."""
    return next((one for one in alternatives(kind) if is_typeddict(one)), None)


def type_name(kind: Any) -> str:
    """Name a type in words, such as "list of numbers" or "text or null"."""
    names = dict.fromkeys(_name_of_one(one) for one in alternatives(kind))
    return " or ".join(names)


def _name_of_one(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f'"{choice}"' for choice in arguments)
    if origin is Sequence:
        return f"list of {type_name(arguments[0])}s"
    if origin is np.ndarray:
        whole = issubclass(get_args(arguments[1])[0], np.integer)
        return f"list of {_WORDS[int if whole else float]}s"
    return _WORDS.get(kind, "object")
