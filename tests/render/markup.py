"""Reads back what was rendered, and says what in it reaches outside or runs."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

LINKS = frozenset({"src", "href", "xlink:href", "action", "data", "poster", "srcset"})
HERE = re.compile(r"#|data:image/png;base64,")


def svg_texts(svg: str) -> list[str]:
    """Return the texts of an SVG element; raises `ParseError` if it is no XML."""
    root = ET.fromstring(svg)  # noqa: S314 - what our own charts wrote
    return [text for node in root.iter() if node.tag.endswith("}text") for text in node.itertext()]


class Seen(HTMLParser):
    """The elements and texts of a page, and every address or handler in it."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.faults: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            outside = name in LINKS and not HERE.match(value or "")
            if outside or name.startswith("on") or "url(" in (value or "").replace("url(#", ""):
                self.faults.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data)
