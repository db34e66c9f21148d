"""What a chart shows: series of values, and the panels they are drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Series:
    """One named line; `low` and `high` are the edges of its interval.

    A value that is not finite is drawn as a gap. `marker` puts a point on every value; without
    `line` there are only points, and the interval is drawn as error bars, else as a band.
    Raises `ValueError` if the parts do not fit each other or there is nothing to draw.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    marker: bool = False
    line: bool = True

    def __post_init__(self) -> None:
        if not len(self.x):
            raise ValueError(f"series {self.name!r} is empty")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"series {self.name!r} has half an interval: give low and high")
        parts = [part for part in (self.y, self.low, self.high) if part is not None]
        if any(len(part) != len(self.x) for part in parts):
            raise ValueError(f"series {self.name!r} has parts of different lengths")
        edges = self.interval
        if edges is not None and (edges[0] > edges[1]).any():
            raise ValueError(f"series {self.name!r} has an interval with low above high")

    @property
    def interval(self) -> tuple[Values, Values] | None:
        """The edges of the interval, where there is one."""
        if self.low is None or self.high is None:
            return None
        return np.asarray(self.low, np.float64), np.asarray(self.high, np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One set of axes; a logarithmic one draws what is not above 0 as a gap."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False

    def __post_init__(self) -> None:
        if not self.series:
            raise ValueError(f"chart {self.title!r} has no series")
