"""Whether the drift is everybody's, or that of one client, version or format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.analysis.class_shift import class_test
from monitoring.analysis.config import DriftConfig
from monitoring.analysis.marginals import feature_drifts
from monitoring.analysis.photometric import photometric_test
from monitoring.reference import Reference
from monitoring.window import Window

COLUMNS = {
    "client": "client",
    "session": "session",
    "version": "version",
    "code_version": "code version",
    "input_format": "input format",
}
"""What items are grouped by, and how we call it."""
_LARGEST_GROUPS = 8
_MAX_ROWS = 5000
"""Of a group; of more, so many are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The items that have one value in a column, and all others; both have rows enough to test."""

    column: str  # of the window
    value: str
    rows: int
    rest_rows: int
    drifted: bool
    rest_drifted: bool

    @property
    def alone(self) -> bool:
        """Whether this group has drifted and the others have not."""
        return self.drifted and not self.rest_drifted


def groups(reference: Reference, window: Window, config: DriftConfig) -> tuple[Group, ...]:
    """Return the largest groups of each column that has more than one, each with its rest."""
    return tuple(
        _group(reference, window, config, name, value)
        for name in COLUMNS
        for value in _values(getattr(window, name), config.min_rows)
    )


def _values(column: NDArray[np.str_], min_rows: int) -> list[str]:
    values, counts = np.unique(column, return_counts=True)
    enough = (counts >= min_rows) & (len(column) - counts >= min_rows)
    order = np.argsort(-counts[enough], kind="stable")[:_LARGEST_GROUPS]
    return [str(value) for value in values[enough][order]]


def _group(
    reference: Reference, window: Window, config: DriftConfig, name: str, value: str
) -> Group:
    member = getattr(window, name) == value
    return Group(
        column=name,
        value=value,
        rows=int(member.sum()),
        rest_rows=int((~member).sum()),
        drifted=_drifted(reference, window.take(_some(member, config)), config),
        rest_drifted=_drifted(reference, window.take(_some(~member, config)), config),
    )


def _some(member: NDArray[np.bool_], config: DriftConfig) -> NDArray[np.intp]:
    rows = np.flatnonzero(member)
    if len(rows) <= _MAX_ROWS:
        return rows
    return np.sort(np.random.default_rng(config.seed).choice(rows, _MAX_ROWS, replace=False))


def _drifted(reference: Reference, window: Window, config: DriftConfig) -> bool:
    """Whether the images or the shares of the classes have drifted, by the quick tests."""
    return (
        photometric_test(reference, window, config).rejected
        or feature_drifts(reference, window, config)[1].rejected
        or class_test(reference, window, config).rejected
    )
