"""One self-contained HTML page of sections: text, table, chart, pictures; no script, no address."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torchkeep.render.plain import plain
from torchkeep.render.template import TEMPLATE

PNG_START = b"\x89PNG\r\n\x1a\n"
MISSING = "–"


class Picture(NamedTuple):
    """The bytes of a PNG file and what is to be read below it."""

    png: bytes
    caption: str


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

    def __post_init__(self) -> None:
        if self.svg and not self.svg.startswith("<svg"):
            raise ValueError(f"section {self.title!r}: the chart is no SVG element")
        if any(not png.startswith(PNG_START) for png, _ in self.images):
            raise ValueError(f"section {self.title!r}: a picture is no PNG file")


def page(title: str, sections: Sequence[Section]) -> str:
    """Return the page. Whatever is told in it is escaped, except charts."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(TEMPLATE)
    return template.render(title=plain(title), sections=[_section(part) for part in sections])


def _section(section: Section) -> Mapping[str, Any]:
    return {
        "title": plain(section.title),
        "paragraphs": [part for part in plain(section.text).split("\n\n") if part.strip()],
        "svg": section.svg,
        "table": _table(section.table) if section.table else None,
        "pictures": [
            {"address": _address(png), "caption": plain(caption)} for png, caption in section.images
        ],
    }


def _table(table: Table) -> Mapping[str, Any]:
    body = [[_cell(value) for value in row] for row in table.rows]
    numeric = [any(row[column]["number"] for row in body) for column in range(len(table.columns))]
    names = zip(table.columns, numeric, strict=True)
    return {"head": [{"text": plain(name), "number": is_} for name, is_ in names], "body": body}


def _cell(value: object) -> Mapping[str, Any]:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"text": f"{value:,}", "number": True}
    if isinstance(value, float):
        return {"text": f"{value:,.4g}" if math.isfinite(value) else MISSING, "number": True}
    return {"text": MISSING if value is None else plain(str(value)), "number": False}


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
