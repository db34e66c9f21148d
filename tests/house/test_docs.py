"""What the documentation says is true: links lead somewhere, code runs, commands exist."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.house.command_lines import unknown_words
from tests.house.doc_blocks import blocks, console_commands, needs_server, run_python
from tests.house.source_files import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
SERVERLESS = [page for page in PAGES if not needs_server(page.read_text(encoding="utf-8"))]
INLINE_LINK = r"(?<!\\)\]\(<?([^)<>\s]+)>?(?:\s+\"[^\"]*\")?\)"
REFERENCE = r"^\[[^\]]+\]: *(\S+)"
LINK = re.compile(f"{INLINE_LINK}|{REFERENCE}", re.MULTILINE)


def without_blocks(page: str) -> str:
    """Return a page with its fenced blocks emptied."""
    lines = page.splitlines()
    for block in blocks(page):
        for number in range(block.line - 1, block.line - 1 + len(block.text.splitlines())):
            lines[number] = ""
    return "\n".join(lines)


def anchors(page: str) -> set[str]:
    """Return the anchors that a page's headings get, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ +(.+?) *#*$", without_blocks(page), flags=re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def dead_links(page: Path) -> list[str]:
    """Return the links of a page to files or headings of the project that are not there."""
    dead = []
    prose = re.sub(r"`[^`\n]*`", "", without_blocks(page.read_text(encoding="utf-8")))
    for pair in LINK.findall(prose):
        link = unquote("".join(pair))
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (
            anchor and anchor not in anchors(target.read_text(encoding="utf-8"))
        ):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text(
        "# One `two`: three!\n```text\n# no heading\n```\n## a\n## a\n"
    )
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#one-two-three) [c](https://example.org/x) [d](other.md#a-1)\n"
        "[e](missing.md) ![f](missing.png) [g](other.md#no-heading) [h](#nowhere)\n"
        '[i](missing "title") `[j](in-code.md)`\n\n[k]: missing-too.md\n'
    )
    assert dead_links(page) == [
        "missing.md",
        "missing.png",
        "other.md#no-heading",
        "#nowhere",
        "missing",
        "missing-too.md",
    ]


@pytest.mark.parametrize("page", SERVERLESS, ids=[page.stem for page in SERVERLESS])
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    result = run_python(page, tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_of_a_page_exists(page: Path) -> None:
    commands = console_commands(page.read_text(encoding="utf-8"))
    assert [fault for words in commands if (fault := unknown_words(words))] == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("torchkeep up", None),
        ("torchkeep --help", None),
        (".venv/bin/torchkeep status --json", None),
        ("make up", None),
        ("make test TEST_ARGS=-x", None),
        ("curl -s http://127.0.0.1:8080/ping", None),
        ("torchkeep ascend", "torchkeep has no verb 'ascend'"),
        ("torchkeep status --yaml", "torchkeep status has no option --yaml"),
        ("torchkeep --verbos", "torchkeep has no option --verbos"),
        ("make coffee", "make has no {'coffee'}"),
    ],
)
def test_an_unknown_command_is_found(line: str, fault: str | None) -> None:
    assert unknown_words(line.split()) == fault
