"""One self-contained HTML page of sections: text, table, chart, pictures; no script, no address."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from torchkeep.render.plain import plain
from torchkeep.render.template import TEMPLATE

PNG_START = b"\x89PNG\r\n\x1a\n"
MISSING = "–"


class Picture(NamedTuple):
    """The bytes of a PNG file and what is to be read below it."""

    png: bytes
    caption: str


class Triple(NamedTuple):
    """PNG files of an image before, after, and their difference, and what is to be read below."""

    before: bytes
    after: bytes
    difference: bytes
    caption: str


@dataclass(frozen=True, slots=True)
class Heat:
    """A cell of a table with a bar behind it that is `share` (0..1) of its width."""

    share: float
    text: str


class Tone(StrEnum):
    """How a section is set off from the others."""

    PLAIN = "plain"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns; numbers are grouped, rounded to four digits and put to the right.

    None and what is no number of a float are shown as a dash; whatever else is shown by `str()`.
    Raises `ValueError` if a row has more or fewer cells than there are columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("a table needs a column")
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.columns):
                fault = f"{len(row)} cells for {len(self.columns)} columns"
                raise ValueError(f"row {number} has {fault}")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page; an empty line in `text` parts paragraphs, `svg` comes from `chart`.

    Raises `ValueError` if `svg` is no SVG element or a picture is no PNG file.
    """

    title: str
    text: str = ""
    table: Table | None = None
    svg: str = ""
    images: Sequence[tuple[bytes, str]] = ()
    triples: Sequence[Triple] = ()
    tone: Tone = Tone.PLAIN

    def __post_init__(self) -> None:
        if self.svg and not self.svg.startswith("<svg"):
            raise ValueError(f"section {self.title!r}: the chart is no SVG element")
        pngs = [png for png, _ in self.images] + [
            png for triple in self.triples for png in triple[:3]
        ]
        if any(not png.startswith(PNG_START) for png in pngs):
            raise ValueError(f"section {self.title!r}: a picture is no PNG file")


def page(title: str, sections: Sequence[Section], *, contents: bool = False) -> str:
    """Return the page; all that is told is escaped, except charts.

    `contents` puts a table of contents below the first section.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(TEMPLATE)
    parts = [_section(part) for part in sections]
    return template.render(title=plain(title), sections=parts, contents=contents)


def _section(section: Section) -> Mapping[str, Any]:
    return {
        "title": plain(section.title),
        "paragraphs": [part for part in plain(section.text).split("\n\n") if part.strip()],
        "svg": section.svg,
        "table": _table(section.table) if section.table else None,
        "pictures": [
            {"address": _address(png), "caption": plain(caption)} for png, caption in section.images
        ],
        "triples": [_triple(triple) for triple in section.triples],
        "tone": section.tone.value,
    }


def _triple(triple: Triple) -> Mapping[str, Any]:
    names = ("before", "after", "difference")
    pictures = [
        {"address": _address(png), "name": name}
        for png, name in zip(triple[:3], names, strict=True)
    ]
    return {"pictures": pictures, "caption": plain(triple.caption)}


def _table(table: Table) -> Mapping[str, Any]:
    body = [[_cell(value) for value in row] for row in table.rows]
    numeric = [any(row[column]["number"] for row in body) for column in range(len(table.columns))]
    names = zip(table.columns, numeric, strict=True)
    return {"head": [{"text": plain(name), "number": is_} for name, is_ in names], "body": body}


def _cell(value: object) -> Mapping[str, Any]:
    if isinstance(value, Heat):
        width = round(100 * min(1.0, max(0.0, value.share)))
        return {"text": plain(value.text), "number": True, "heat": width}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"text": f"{value:,}", "number": True}
    if isinstance(value, float):
        return {"text": f"{value:,.4g}" if math.isfinite(value) else MISSING, "number": True}
    return {"text": MISSING if value is None else plain(str(value)), "number": False}


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
