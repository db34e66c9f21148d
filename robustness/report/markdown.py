"""Sections as GitHub Markdown without HTML; names of strangers are escaped (GFM spec 6.1, 4.10)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from robustness.evaluation.report import RobustnessReport
from robustness.report.content import sections, title
from torchkeep.render.page import MISSING, Heat, Section, Table
from torchkeep.render.plain import one_line

LONGEST = 600
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&@$])")


def markdown(report: RobustnessReport) -> str:
    """Return the report; charts and pictures are only in the HTML."""
    return document(title(report), list(sections(report, charts=False)))


def document(name: str, parts: Sequence[Section]) -> str:
    """Return a document of sections, without their charts and pictures."""
    return f"# {escaped(name)}\n\n" + "\n".join(_section(part) for part in parts)


def escaped(text: str) -> str:
    """Return the text on one line, with no character that Markdown reads; addresses do not link."""
    line = _SPECIAL.sub(r"\\\1", one_line(text, LONGEST))
    line = re.sub(r"(?i)(https?|ftp|mailto|xmpp):", r"\1\\:", line)
    line = re.sub(r"(?i)\bwww\.", r"www\\.", line)
    line = re.sub(r"^([-+=])", r"\\\1", line)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)


def table(content: Table) -> str:
    """Return a table; each row is one line."""
    head = _row([escaped(name) for name in content.columns])
    rule = _row(["---"] * len(content.columns))
    body = [_row([escaped(_cell(value)) for value in row]) for row in content.rows]
    return "\n".join([head, rule, *body]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object) -> str:
    if isinstance(value, Heat):
        return value.text
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, float):
        return f"{value:,.4g}"
    return str(value)


def _section(section: Section) -> str:
    paragraphs = [escaped(part) for part in section.text.split("\n\n") if part.strip()]
    body = [f"## {escaped(section.title)}\n", *(f"{part}\n" for part in paragraphs)]
    if section.table is not None:
        body.append(table(section.table))
    return "\n".join(body)
