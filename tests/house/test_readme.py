"""The first page: nothing left to fill in, and the two commands first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.doc_blocks import blocks, console_commands
from tests.house.source_files import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_no_page_holds_a_placeholder(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "@@" in line] == []


def test_the_first_thing_to_type_is_make_up() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    first = next(block for block in blocks(page) if block.language == "console")
    assert console_commands(f"```console\n{first.text}\n```")[0] == ["make", "up"]
