"""Any record the schema allows, for property tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin, is_typeddict

import numpy as np
from hypothesis import strategies as st

from monitoring.field_types import alternatives
from monitoring.request_log import Record
from torchkeep.schema import LOGGED, fields_of


def any_records() -> st.SearchStrategy[list[Record]]:
    """Any records of either kind that the schema allows, made of plain lists."""
    kinds = [_of_schema(record) for record in LOGGED.values()]
    return st.lists(st.one_of(kinds), min_size=1, max_size=4)


def _of_schema(record: type) -> st.SearchStrategy[Any]:
    fields = fields_of(record)
    return st.fixed_dictionaries(
        {field.name: _of(field.type) for field in fields if field.required},
        optional={field.name: _of(field.type) for field in fields if not field.required},
    )


def _of(kind: Any) -> st.SearchStrategy[Any]:
    kinds = [one for one in alternatives(kind) if get_origin(one) is not np.ndarray]
    return st.one_of([_of_one(one) for one in kinds])


def _of_one(kind: Any) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        return _of_schema(kind)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is Sequence:
        return st.lists(_of(arguments[0]), max_size=4)
    if origin is dict:
        return st.dictionaries(_of(arguments[0]), _of(arguments[1]), max_size=3)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        type(None): st.none(),
        str: st.text(max_size=20),
        int: st.integers(-(2**63), 2**64 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
    }
    return plain[kind]
