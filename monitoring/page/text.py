"""Times and numbers as the page writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from monitoring.health import Missing
from monitoring.moment import NANOSECONDS, moment
from torchkeep.render.page import Section

_UNITS = ((86_400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


class Axis(NamedTuple):
    """Times as numbers since the first one, in a unit that suits how long they span."""

    values: list[float]
    label: str


def time_axis(times_ns: Sequence[int]) -> Axis:
    """Return where times lie on an axis, and its label. Raises `ValueError` without any."""
    start, end = min(times_ns), max(times_ns)
    seconds, unit = next(
        (seconds, unit)
        for seconds, unit in _UNITS
        if end - start >= 3 * seconds * NANOSECONDS or seconds == 1
    )
    values = [(time_ns - start) / NANOSECONDS / seconds for time_ns in times_ns]
    return Axis(values, f"{unit} after {moment(start)} UTC")


def share(value: float | None) -> str | None:
    """Return a share of 1 as a percentage; None stays None, which the page shows as a dash."""
    return None if value is None else f"{value:.1%}"


def missing_section(title: str, part: Missing) -> Section:
    """Return the section of a part that could not be had."""
    return Section(title=title, text=f"Not known: {part.reason}.")
