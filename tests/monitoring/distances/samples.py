"""Columns of any kind: with ties, constants, huge and tiny values, a single row."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray


def any_column(least: int = 1) -> st.SearchStrategy[NDArray[Any]]:
    """Return finite float64 columns; half of them hold few different values, so they tie."""
    few = st.sampled_from([0.0, 1.0, -1.0, 0.5, 255.0])
    wide = st.floats(-1e6, 1e6, allow_subnormal=False)
    elements = st.sampled_from([few, wide])
    lists = elements.flatmap(lambda each: st.lists(each, min_size=least, max_size=40))
    return lists.map(np.array)


def messy_column() -> st.SearchStrategy[NDArray[Any]]:
    """Return columns of anything a float can be, none at all included."""
    return st.lists(st.floats(width=32), max_size=30).map(lambda rows: np.array(rows, np.float32))
