"""A folder is replaced whole, and whatever happens on the way one of the two is there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from torchkeep.atomic_file import atomic_directory, set_aside


def put(path: Path, word: str) -> None:
    with atomic_directory(path) as scratch:
        (scratch / "word").write_text(word)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_made_and_replaced(tmp_path: Path) -> None:
    for word in ("old", "new"):
        put(tmp_path / "deep" / "it", word)
        assert (tmp_path / "deep" / "it" / "word").read_text() == word
        assert names(tmp_path / "deep") == ["it"]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path / "it", "old")
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "it"):
        raise RuntimeError
    assert (tmp_path / "it" / "word").read_text() == "old"
    assert names(tmp_path) == ["it"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_rename_that_fails_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    put(tmp_path / "it", "old")
    calls, replace = iter(range(1, 9)), Path.replace

    def fail_once(self: Path, target: Path) -> Path:
        if next(calls) == failing:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_once)
    with pytest.raises(OSError, match="No space left"):
        put(tmp_path / "it", "new")
    assert (tmp_path / "it" / "word").read_text() == "old"
    assert names(tmp_path) == ["it"]


KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from torchkeep.atomic_file import atomic_directory
left, replace = int(sys.argv[2]), Path.replace
def and_die(self, target):
    global left
    replace(self, target)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
Path.replace = and_die
with atomic_directory(Path(sys.argv[1])) as scratch:
    (scratch / "word").write_text("new")
"""


@pytest.mark.parametrize(("renames", "there"), [(1, None), (2, "new")])
def test_a_kill_between_loses_nothing_and_the_next_call_cleans_up(
    tmp_path: Path, renames: int, there: str | None
) -> None:
    it = tmp_path / "it"
    put(it, "old")
    command = [sys.executable, "-c", KILLED_AFTER, str(it), str(renames)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    assert (set_aside(it) / "word").read_text() == "old"
    assert it.exists() is (there is not None)
    with pytest.raises(RuntimeError), atomic_directory(it):
        raise RuntimeError
    assert (it / "word").read_text() == (there or "old")
    assert not set_aside(it).exists()


def test_a_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "it").write_text("mine")
    with pytest.raises(NotADirectoryError):
        put(tmp_path / "it", "new")
    assert (tmp_path / "it").read_text() == "mine"
    assert names(tmp_path) == ["it"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    put(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    put(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "word").read_text() == "new"
