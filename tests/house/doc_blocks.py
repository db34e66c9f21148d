"""The fenced blocks of a Markdown page: Python to run, console lines to check.

A page whose Python mentions `TORCHKEEP_URL` talks to a running server; whoever has one runs it
with `run_python(page, scratch, TORCHKEEP_URL=...)`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<language>[\w+-]*)")
PROMPT = "$ "
SERVER_VARIABLE = "TORCHKEEP_URL"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `line` is the number of its first line of text, from 1."""

    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page's text; an unclosed one ends with the page."""
    found: list[Block] = []
    lines = iter(enumerate(page.splitlines(), start=1))
    for number, line in lines:
        if opening := FENCE.match(line):
            body = list(_until_closed(lines, opening["fence"], len(opening["indent"])))
            found.append(Block(opening["language"], "\n".join(body), number + 1))
    return found


def _until_closed(lines: Iterator[tuple[int, str]], fence: str, indent: int) -> Iterator[str]:
    for _, line in lines:
        bare = line.strip()
        if bare.startswith(fence) and set(bare) == {fence[0]}:
            return
        yield line[indent:] if not line[:indent].strip() else line


def python_script(page: str) -> str:
    """Return a page's Python blocks as one script with the page's own line numbers."""
    lines: list[str] = []
    for block in blocks(page):
        if block.language == "python":
            lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    return "\n".join(lines) + "\n" if lines else ""


def needs_server(page: str) -> bool:
    return SERVER_VARIABLE in python_script(page)


def run_python(
    page: Path, scratch: Path, *, timeout: float = 120, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a page's Python blocks, in order and in one namespace, with `scratch` as the directory.

    A traceback's line numbers are those of the page.
    """
    script = scratch / f"{page.stem}_page.py"
    script.write_text(python_script(page.read_text(encoding="utf-8")), encoding="utf-8")
    return subprocess.run(
        [sys.executable, script.name],
        cwd=scratch,
        env=os.environ | {"TORCHKEEP_HOME": str(scratch / "home")} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def console_commands(page: str) -> list[list[str]]:
    """Return the words of each command that follows a `$ ` prompt in a console block.

    `a && b`, `a | b` and `a; b` are several commands; redirections and comments are left out.
    """
    found: list[list[str]] = []
    for block in blocks(page):
        if block.language == "console":
            for line in block.text.replace("\\\n", " ").splitlines():
                if line.startswith(PROMPT):
                    found += _split(line.removeprefix(PROMPT))
    return found


def _split(line: str) -> list[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    previous = ""
    for word in lexer:
        if set(word) <= set("|&;"):
            commands.append([])
        elif not _redirects(word) and not _redirects(previous):
            commands[-1].append(word)
        previous = word
    return [command for command in commands if command]


def _redirects(word: str) -> bool:
    return set(word) <= set("<>&") and bool(set(word) & set("<>"))
