"""Line charts as self-contained SVG: the same input gives the same bytes."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from torchkeep.render.matplotlib_library import drawing
from torchkeep.render.plain import one_line
from torchkeep.render.series import Panel, Series, Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["Panel", "Series", "line_chart", "line_charts"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by the colour-blind (Okabe and Ito 2008), and legible on white and on black."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
WIDTH, HEIGHT, LEGEND_LINE = 7.5, 3.6, 0.2
"""Inches of a panel, and of a line of its legend."""
LONGEST_TITLE, LONGEST_NAME, LEGEND_CHARACTERS = 70, 50, 80
_INK = "#010203"
"""Stands for the colour of the page's text until the SVG is written."""
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "torchkeep",
    "text.parse_math": False,
    "axes.formatter.useoffset": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.2,
    "legend.frameon": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
} | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"),
    _INK,
)
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    *,
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """Return one chart as an `<svg>` element. Raises `ValueError` without any series."""
    panel = Panel(
        title=title, x_label=x_label, y_label=y_label, series=series, log_x=log_x, log_y=log_y
    )
    return line_charts([panel])


def line_charts(panels: Sequence[Panel]) -> str:
    """Return charts, one below the other, as one `<svg>` element.

    Text stays text and has the colour of the text around the element. Raises `ValueError` without
    any panel.
    """
    if not panels:
        raise ValueError("a chart needs a panel")
    with drawing(_SETTINGS):
        from matplotlib.figure import Figure

        height = sum(HEIGHT + LEGEND_LINE * _legend(panel)[1] for panel in panels)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        grid = figure.subplots(len(panels), 1, squeeze=False)
        for axes, panel in zip(grid[:, 0], panels, strict=True):
            _draw(axes, panel)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=_NO_METADATA)
    return _element(file.getvalue(), " / ".join(panel.title for panel in panels))


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(one_line(panel.title, LONGEST_TITLE), loc="left")
    axes.set_xlabel(one_line(panel.x_label, LONGEST_TITLE))
    axes.set_ylabel(one_line(panel.y_label, LONGEST_NAME))
    handles = [_draw_series(axes, panel, number) for number in range(len(panel.series))]
    axes.set_xscale("log" if panel.log_x else "linear")
    axes.set_yscale("log" if panel.log_y else "linear")
    _ticks(axes.xaxis, [series.x for series in panel.series], panel.log_x)
    _ticks(axes.yaxis, [series.y for series in panel.series], panel.log_y)
    legend = axes.legend(
        handles,
        [str(number) for number in range(len(handles))],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=_legend(panel)[0],
    )
    for text, series in zip(legend.get_texts(), panel.series, strict=True):
        text.set_text(one_line(series.name, LONGEST_NAME))  # a label that starts with _ is dropped


def _legend(panel: Panel) -> tuple[int, int]:
    """Return how many columns and lines the legend takes."""
    longest = max(len(one_line(series.name, LONGEST_NAME)) for series in panel.series)
    columns = max(1, min(3, len(panel.series), LEGEND_CHARACTERS // (longest + 6)))
    return columns, math.ceil(len(panel.series) / columns)


def _draw_series(axes: Axes, panel: Panel, number: int) -> Any:
    """Draw one series and return what stands for it in the legend."""
    series = panel.series[number]
    x, y = _shown(series.x, panel.log_x), _shown(series.y, panel.log_y)
    colour = COLOURS[number % len(COLOURS)]
    if series.interval is not None:
        low, high = (_shown(edge, panel.log_y) for edge in series.interval)
        if series.line:
            axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        else:
            axes.vlines(x, low, high, color=colour, alpha=0.6)
    points = list(range(len(x))) if series.marker or not series.line else _isolated(x, y)
    (line,) = axes.plot(
        x,
        y,
        color=colour,
        linestyle=DASHES[number % len(DASHES)] if series.line else "none",
        marker=MARKERS[number % len(MARKERS)] if points else "none",
        markersize=4,
        markevery=points,
    )
    return line


def _shown(values: Sequence[float] | Values, log: bool) -> Values:
    """Return the values with those that the axis cannot show as NaN, which is drawn as a gap."""
    numbers = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(numbers) & ((numbers > 0) | (not log)), numbers, np.nan)


def _isolated(x: Values, y: Values) -> list[int]:
    """Return the values without a neighbour, which a line alone would not show."""
    there = np.pad(np.isfinite(x) & np.isfinite(y), 1)
    return np.flatnonzero(there[1:-1] & ~there[:-2] & ~there[2:]).tolist()


def _ticks(axis: Axis, parts: Sequence[Sequence[float]], log: bool) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    values = np.concatenate([_shown(part, log) for part in parts])
    values = values[np.isfinite(values)]
    if not log:
        if len(values) and (values == np.rint(values)).all():
            axis.set_major_locator(MaxNLocator("auto", integer=True))
        return
    ratio = values.max() / values.min() if len(values) else 1.0
    steps = (1, 2, 5) if ratio > 10 else (1, 1.5, 2, 3, 5, 7)
    axis.set_major_locator(LogLocator(subs=steps) if ratio > 2 else MaxNLocator(5))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _element(document: str, title: str) -> str:
    """Return the `<svg>` element, fit to stand with others in one page.

    Matplotlib escapes `<` in text and in attributes, so what looks like a tag is one.
    """
    element = document[document.index("<svg") :].rstrip()
    element = re.sub(r'<g id="[^"]*"', "<g", element)  # names of groups, the same in every chart
    element = re.sub("<[^>]*>", lambda tag: tag[0].replace(_INK, "currentColor"), element)
    label = html.escape(one_line(title, 2 * LONGEST_TITLE))
    return element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
