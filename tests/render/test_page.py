"""A page holds all it shows, runs nothing, asks nobody, and escapes what it is told."""

from __future__ import annotations

import io
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.render.markup import Seen
from torchkeep.render.chart import Series, line_chart
from torchkeep.render.page import Picture, Section, Table, page
from torchkeep.render.plain import plain


def png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2)).save(file, "PNG")
    return file.getvalue()


def whole(name: str = "Name") -> str:
    svg = line_chart(name, name, name, [Series(name, [1, 2], [1, 2])])
    sections = [
        Section(name, name, table=Table([name, "n"], [[name, 1234], [None, 0.123456]])),
        Section("Chart", svg=svg),
        Section("Pictures", images=[Picture(png(), name), (png(), name)]),
    ]
    return page(name, sections)


def test_a_page_shows_everything_it_was_given() -> None:
    text = whole("Curves")
    seen = Seen(text)
    assert {"html", "h1", "h2", "table", "svg", "img", "figcaption"} <= set(seen.tags)
    assert {"Curves", "1,234", "0.1235", "–"} <= set(seen.texts)
    assert seen.tags.count("img") == 2


def test_a_page_runs_nothing_and_asks_nobody() -> None:
    text = whole()
    seen = Seen(text)
    assert seen.faults == []
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(seen.tags)
    addresses = set(re.findall(r"https?://[^\"' )]*", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "default-src 'none'" in text


def test_what_reaches_outside_is_seen() -> None:
    faults = Seen(
        '<img src="https://x.example/a.png" onerror="x"><p style="a: url(http://x)">'
    ).faults
    assert len(faults) == 3


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "{{ 7 * 7 }}", "a\x00\ud800b"]
)
def test_a_hostile_name_is_only_text(name: str) -> None:
    text = whole(name)
    text.encode()
    ordinary, hostile = Seen(whole()), Seen(text)
    assert hostile.tags == ordinary.tags
    assert hostile.faults == []
    assert hostile.texts.count(plain(name)) == len([x for x in ordinary.texts if x == "Name"])


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_leaves_the_elements_as_they_are(text: str) -> None:
    section = Section(text, f"a{text.strip()}", Table([text], [[text]]), images=[(png(), text)])
    tags = Seen(page(text, [section])).tags
    paragraphs = tags.count("p")
    assert paragraphs >= 1
    expected = Section("t", "a", Table(["t"], [["t"]]), images=[(png(), "t")])
    assert [tag for tag in tags if tag != "p"] == [
        tag for tag in Seen(page("t", [expected])).tags if tag != "p"
    ]


def test_the_same_input_gives_the_same_bytes() -> None:
    assert whole() == whole()


def test_an_empty_line_parts_paragraphs() -> None:
    assert Seen(page("t", [Section("s", "one\ntwo\n\nthree")])).tags.count("p") == 2


def test_numbers_are_put_to_the_right_and_what_is_no_number_is_a_dash() -> None:
    text = page("t", [Section("s", table=Table(["a", "b"], [["x", math.nan], [True, 1]]))])
    assert text.count('class="number"') == 3
    assert '<td class="number">–</td>' in text
    assert "<td>True</td>" in text


@pytest.mark.parametrize("columns", [["a"], ["a", "b", "c"], []])
def test_a_row_of_another_length_is_refused(columns: list[str]) -> None:
    with pytest.raises(ValueError, match="column"):
        Table(columns, [[1, 2]])


def test_a_picture_that_is_no_png_and_a_chart_that_is_no_svg_are_refused() -> None:
    with pytest.raises(ValueError, match="no PNG"):
        Section("s", images=[(b"GIF89a", "x")])
    with pytest.raises(ValueError, match="no SVG"):
        Section("s", svg="<script>")
