"""The hash of some packages' code changes with the code, and with nothing else."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from torchkeep.code_digest import code_digest

OURS = ("handlers", "monitoring", "release", "robustness", "torchkeep")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "first" / "toy_package"
    (folder / "inner").mkdir(parents=True)
    for name in ("__init__.py", "one.py", "inner/__init__.py", "inner/two.py"):
        (folder / name).write_text("raise AssertionError('nothing is imported')\n")
    monkeypatch.syspath_prepend(folder.parent)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "one.py").write_text("x = 1\n"),
        lambda folder: (folder / "inner" / "two.py").unlink(),
        lambda folder: (folder / "one.py").rename(folder / "three.py"),
        lambda folder: (folder / "inner" / "four.py").touch(),
    ],
    ids=["changed", "removed", "renamed", "added"],
)
def test_any_change_of_the_code_changes_it(package: Path, change: Callable[[Path], object]) -> None:
    before = code_digest("toy_package")
    change(package)
    assert code_digest("toy_package") != before


def test_nothing_else_changes_it(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = code_digest("toy_package")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "one.cpython-311.pyc").touch()
    (package / "notes.txt").touch()
    assert code_digest("toy_package") == before
    shutil.copytree(package, tmp_path / "second" / "toy_package")
    shutil.rmtree(package)
    monkeypatch.syspath_prepend(tmp_path / "second")
    assert code_digest("toy_package") == before
    assert "toy_package" not in sys.modules


def test_it_is_of_all_packages_in_any_order(package: Path) -> None:
    both = code_digest("toy_package", "torchkeep")
    assert both == code_digest("torchkeep", "toy_package", "torchkeep")
    assert len({both, code_digest("toy_package"), code_digest("torchkeep")}) == 3


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="no package 'no_such_package'"):
        code_digest("no_such_package")


def test_it_costs_no_time_to_speak_of() -> None:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        code_digest(*OURS)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.1
