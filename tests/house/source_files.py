"""The Python files of the project, parsed once."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torchkeep", "handlers", "training", "gateway", "robustness", "monitoring", "release")
GENERATED = ROOT / "torchkeep" / "client" / "stubs"


def python_files(*folders: str) -> list[Path]:
    """Return the hand-written Python files under the given top-level folders, sorted."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if GENERATED not in path.parents)


def shipped_files() -> list[Path]:
    """Return every hand-written Python file outside the tests."""
    return [ROOT / "run-tests.py", *python_files(*PACKAGES, "loadtests", "scripts")]


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    """Return the dotted name under which a file of the project is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(tree: ast.Module, module: str, *, is_package: bool) -> Iterable[str]:
    """Yield the dotted name of everything a module imports, wherever in the file it does.

    `from a import b` yields `a.b`, for `b` may be a module. Relative imports are resolved, and
    `importlib.import_module("a.b")` and `__import__("a.b")` count where the name is a literal.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _resolve(node, module, is_package)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            name = node.args[0].value
            if called.split(".")[-1] in {"import_module", "__import__"} and isinstance(name, str):
                yield name


def _resolve(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.split(".")
    kept = len(parts) - node.level + is_package
    return ".".join([*parts[:kept], *([node.module] if node.module else [])])
