"""A chart is XML, the same bytes each time, and shows its names whatever they contain."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.house.source_files import ROOT
from tests.render.markup import Seen, svg_texts
from torchkeep.render.chart import COLOURS, Panel, Series, line_chart, line_charts
from torchkeep.render.plain import one_line

NAN = math.nan


def chart(*series: Series, log_x: bool = False, log_y: bool = False) -> str:
    return line_chart("Title", "x", "y", series, log_x=log_x, log_y=log_y)


def path_of(svg: str, colour: str) -> str:
    """Return the path of the line of that colour; its twin in the legend comes later."""
    found = re.search(rf'<path d="([^"]*)"[^>]*?stroke: {colour}', svg)
    assert found
    return found[1]


def test_a_chart_is_xml_that_tells_title_axes_and_names() -> None:
    svg = line_chart("Loss", "epoch", "nats", [Series("train", [1, 2, 3], [0.3, 0.2, 0.1])])
    assert svg.startswith("<svg ")
    assert svg.endswith("</svg>")
    assert {"Loss", "epoch", "nats", "train", "1", "2", "3", "0.200"} <= set(svg_texts(svg))


@given(st.text(min_size=1, max_size=80), st.text(max_size=80))
@settings(max_examples=40, deadline=None)
def test_any_name_is_shown_and_none_is_markup(name: str, title: str) -> None:
    svg = line_chart(title, name, name, [Series(name, [1, 2], [1, 2])])
    svg.encode()
    shown = " ".join(text for text in svg_texts(svg))
    assert one_line(name, 50) in " ".join(shown.split()) or not one_line(name, 50)


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "$\\frac{1}",
        "_hidden",
        '" onload="x',
        "日本語",
        "\x00\ud800",
        "]]>",
    ],
)
def test_a_hostile_name_is_only_text(name: str) -> None:
    svg = line_chart(name, name, name, [Series(name, [1, 2], [1, 2])])
    assert svg_texts(svg).count(one_line(name, 50)) == 4
    seen = Seen(svg)
    assert "script" not in seen.tags
    assert seen.faults == []


def test_the_same_input_gives_the_same_bytes_in_another_process_and_with_other_settings(
    tmp_path: Path,
) -> None:
    script = (
        "from torchkeep.render.chart import *\n"
        "print(line_chart('T', 'x', 'y', [Series('a', [1, 2], [3, 4], [2, 3], [4, 5])]), end='')"
    )
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nlines.linewidth: 9\n")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        env=os.environ | {"MATPLOTLIBRC": str(tmp_path), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = line_chart("T", "x", "y", [Series("a", [1, 2], [3, 4], [2, 3], [4, 5])])
    assert done.stdout == here
    assert here == line_chart("T", "x", "y", [Series("a", [1, 2], [3, 4], [2, 3], [4, 5])])


def test_a_home_that_cannot_be_written_prints_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file, so that no folder can be made below it")
    ours = {name: text for name, text in os.environ.items() if name != "MPLCONFIGDIR"}
    script = "from torchkeep.render.chart import *; line_chart('', '', '', [Series('a', [1], [1])])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=ours | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout + done.stderr == ""


def test_drawing_leaves_the_callers_settings_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    chart(Series("a", [1], [1]))
    assert dict(mpl.rcParams) == before


def test_what_is_not_finite_is_a_gap() -> None:
    whole = path_of(chart(Series("a", [1, 2, 3, 4], [1, 2, 3, 4])), COLOURS[0])
    gap = path_of(chart(Series("a", [1, 2, 3, 4, 5], [1, 2, NAN, math.inf, 4])), COLOURS[0])
    assert whole.count("M") == 1
    assert whole.count("L") == 3
    assert gap.count("L") == 1


def test_a_value_between_two_gaps_is_a_point() -> None:
    def points(*y: float) -> int:
        svg = chart(Series("a", [1, 2, 3, 4], y))
        return len(re.findall(f"<use [^>]*fill: {COLOURS[0]}", svg))

    assert points(1, NAN, 3, 4) == 2  # with its twin in the legend
    assert points(1, 2, 3, 4) == 0


def test_a_logarithmic_axis_shows_what_is_not_above_0_as_a_gap_and_numbers_in_words() -> None:
    series = Series("a", [100, 1000, 10_000, 100_000], [0.0, 0.1, 0.01, 0.001])
    svg = chart(series, log_x=True, log_y=True)
    assert path_of(svg, COLOURS[0]).count("L") == 2
    assert {"1,000", "100,000", "0.01"} <= set(svg_texts(svg))
    assert "$" not in svg


@pytest.mark.parametrize("high", [0.0021, 0.003, 0.008, 0.5])
def test_a_logarithmic_axis_has_two_ticks_at_least_whatever_it_spans(high: float) -> None:
    svg = chart(Series("a", [1, 2], [0.002, high]), log_y=True)
    numbers = [float(text) for text in svg_texts(svg) if re.fullmatch(r"0\.\d+", text)]
    assert len([number for number in numbers if 0.0019 < number < 1.1 * high]) >= 2


def test_an_interval_is_a_band_on_a_line_and_bars_on_points() -> None:
    plain = chart(Series("a", [1, 2], [3, 4]))
    band = chart(Series("a", [1, 2], [3, 4], low=[2, 3], high=[4, 5]))
    bars = chart(Series("a", [1, 2], [3, 4], low=[2, 3], high=[4, 5], marker=True, line=False))
    assert "fill-opacity: 0.18" in band
    assert "fill-opacity" not in plain
    assert bars.count("stroke-opacity: 0.6") == 2


def test_two_charts_in_one_page_share_only_names_of_the_same_thing() -> None:
    def defined(svg: str) -> dict[str, str]:
        things = re.findall(r'<(path|clipPath) id="(\w+)"(.*?)</', svg, re.S)
        assert set(re.findall(r"#(\w{11})\b", svg)) == {name for _, name, _ in things}
        assert svg.count(' id="') == len(things)
        return {name: content for _, name, content in things}

    first = defined(chart(Series("a", [1, 2], [3, 4])))
    second = defined(chart(Series("b", [5, 9], [30, 4000]), log_y=True))
    shared = first.keys() & second.keys()
    assert shared
    assert all(first[name] == second[name] for name in shared)


def test_panels_lie_below_each_other_and_the_text_takes_the_colour_of_the_page() -> None:
    panels = [
        Panel(title=name, x_label="x", y_label="y", series=[Series(name, [1, 2], [1, 2])])
        for name in ("Above", "Below")
    ]
    svg = line_charts(panels)
    height = {text: float(y) for y, text in re.findall(r'y="([\d.]+)"[^>]*>(Above|Below)<', svg)}
    assert height["Above"] < height["Below"]
    assert svg.count("currentColor") > 10
    assert "#010203" not in svg


def test_many_long_names_still_leave_room_for_the_axes() -> None:
    chart(*(Series(f"{'long ' * 12}{number}", [1, 2], [1, 2]) for number in range(30)))


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (([], []), "is empty"),
        (([1, 2], [1]), "different lengths"),
        (([1], [1], [0]), "half an interval"),
        (([1], [1], [0, 1], [2, 3]), "different lengths"),
        (([1], [1], [2], [0]), "low above high"),
    ],
)
def test_parts_that_do_not_fit_are_told(parts: tuple[Any, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Series("a", *parts)


def test_a_chart_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no series"):
        line_chart("T", "x", "y", [])
    with pytest.raises(ValueError, match="a panel"):
        line_charts([])


def test_rendering_is_imported_light_and_needs_no_pyplot() -> None:
    script = (
        "import sys, torchkeep.render.chart as chart, torchkeep.render.page\n"
        "assert not {'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "chart.line_chart('', '', '', [chart.Series('a', [1], [1])])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
