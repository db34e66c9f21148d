"""Each file says what it is, and is short enough to be read."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.house.source_files import parse, python_files, shipped_files

LONGEST = 400


def says_what_it_is(path: Path) -> bool:
    is_empty_package = path.name == "__init__.py" and not parse(path).body
    return is_empty_package or ast.get_docstring(parse(path)) is not None


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_every_module_says_what_it_is() -> None:
    assert [str(path) for path in shipped_files() if not says_what_it_is(path)] == []


def test_every_file_is_short_enough_to_be_read() -> None:
    files = [*shipped_files(), *python_files("tests")]
    assert [str(path) for path in files if lines(path) > LONGEST] == []
