"""The Makefile's tasks, on a copy with a stand-in for what they would install."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source_files import ROOT

TASKS = ("up", "down", "test", "test-long", "lint", "types", "format", "clean", "help")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    root = tmp_path / "clone"
    root.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    return root


def make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=clone,
        env={"PATH": os.environ["PATH"], "HOME": str(clone)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def install(clone: Path) -> None:
    """Leave what an installation would: a pip, a `torchkeep` that tells its verb, the stamps."""
    binaries = clone / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "pip").touch()
    (binaries / "torchkeep").write_text('#!/bin/sh\necho "torchkeep $*"\n')
    (binaries / "torchkeep").chmod(0o755)
    for stamp in (".installed", ".installed-dev"):
        (clone / ".venv" / stamp).touch()


def test_plain_make_lists_every_task(clone: Path) -> None:
    listed = re.findall(r"^  make ([a-z-]+) +\w", make(clone).stdout, flags=re.MULTILINE)
    assert set(TASKS) <= set(listed)
    assert make(clone, "help").stdout == make(clone).stdout


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_be_planned_in_a_fresh_clone(clone: Path, task: str) -> None:
    assert make(clone, "-n", task).returncode == 0


def test_torch_is_installed_first_and_only_what_is_pinned(clone: Path) -> None:
    plan = make(clone, "-n", "test", "TORCH_PIP_ARGS=--extra-index-url https://x.invalid").stdout
    installs = [line for line in plan.splitlines() if "-m pip" in line and " install -c " in line]
    assert all(" install -c constraints.txt " in line for line in installs)
    assert installs[0].endswith(
        "install -c constraints.txt --extra-index-url https://x.invalid torch"
    )
    assert "[serve,train,robustness,monitoring,gateway]" in installs[1]
    assert "[serve,train,robustness,monitoring,gateway,loadtest,dev]" in installs[2]
    assert len(installs) == 3
    assert plan.index(installs[2]) < plan.index("run-tests.py")


PIP_THAT_TELLS = """#!/bin/sh
echo "python $*"
"""
NO_GPU = "No NVIDIA GPU is seen here: the CPU build of torch is a tenth of the size."


@pytest.fixture
def to_install(clone: Path) -> Path:
    """A clone with an environment that is empty, and a pip that only tells its arguments."""
    binaries = clone / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "pip").touch()
    (binaries / "python").write_text(PIP_THAT_TELLS)
    (binaries / "python").chmod(0o755)
    return clone


def on_a_terminal(clone: Path, *arguments: str) -> str:
    """Run `make` with a terminal for its output and return what that shows."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            ["make", *arguments],
            cwd=clone,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            check=True,
            timeout=60,
        )
        return os.read(ours, 65536).decode()
    finally:
        os.close(theirs)
        os.close(ours)


def test_pip_shows_its_progress_to_people_only(to_install: Path) -> None:
    assert make(to_install, ".venv/.installed").stdout.count(" -qq install ") == 2
    (to_install / ".venv" / ".installed").unlink()
    shown = on_a_terminal(to_install, ".venv/.installed")
    assert shown.count("python -m pip ") == 2
    assert " -q" not in shown


def tools(folder: Path, *names: str) -> str:
    """Return a PATH of nothing but what the Makefile's recipes call."""
    folder.mkdir()
    for name in ("make", "echo", "touch"):
        (folder / name).symlink_to(str(shutil.which(name)))
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("found", "arguments", "told"),
    [
        ((), (), True),
        (("nvidia-smi",), (), False),
        ((), ("TORCH_PIP_ARGS=--extra-index-url https://x.invalid",), False),
    ],
)
def test_the_cpu_build_is_told_of_before_torch_is_fetched(
    to_install: Path, tmp_path: Path, found: tuple[str, ...], arguments: tuple[str, ...], told: bool
) -> None:
    done = subprocess.run(
        ["make", ".venv/.installed", *arguments],
        cwd=to_install,
        env={"PATH": tools(tmp_path / "tools", *found)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith(NO_GPU) is told
    assert lines[told].startswith("Installing torch ")
    assert NO_GPU not in "".join(lines[1:])
    assert "TORCH_PIP_ARGS" in (to_install / "Makefile").read_text().split("\n\n")[1]


def test_no_index_is_named(clone: Path) -> None:
    recipes = re.sub(r"^#.*$", "", (clone / "Makefile").read_text(), flags=re.MULTILINE)
    assert not re.search(r"index-url|find-links|https?://", recipes)


def test_what_is_installed_is_not_installed_again(clone: Path) -> None:
    install(clone)
    result = make(clone, "up")
    assert result.stdout == "torchkeep up\n"
    assert result.stderr == ""


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_is_installed(clone: Path, changed: str) -> None:
    install(clone)
    stamp = (clone / ".venv" / ".installed").stat().st_mtime
    os.utime(clone / changed, (stamp + 10, stamp + 10))
    assert "-m pip" in make(clone, "-n", "up").stdout


def test_down_needs_no_installation(clone: Path) -> None:
    result = make(clone, "down")
    assert result.returncode == 0
    assert result.stdout == "Nothing is installed here, so nothing runs.\n"
    install(clone)
    assert make(clone, "down").stdout == "torchkeep down\n"


@pytest.mark.parametrize("python", ["/nowhere/python3.11", "false", "old"])
def test_a_wrong_python_is_one_clear_line(clone: Path, python: str) -> None:
    if python == "old":
        python = str(clone / "old-python")
        Path(python).write_text("#!/bin/sh\nexit 1\n")
        Path(python).chmod(0o755)
    result = make(clone, "up", f"PYTHON={python}")
    assert result.returncode == 2
    assert result.stdout == ""
    first, *rest = result.stderr.splitlines()
    assert first.startswith(f"Torchkeep needs Python 3.11, and '{python}' is not one.")
    assert all(line.startswith("make") for line in rest)
    assert not (clone / ".venv").exists()


def test_the_environment_is_made_with_the_python_that_is_named(clone: Path) -> None:
    result = make(clone, ".venv/bin/pip", f"PYTHON={sys.executable}")
    assert result.returncode == 0, result.stderr
    version = subprocess.run(
        [clone / ".venv" / "bin" / "python", "-m", "pip", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "python 3.11" in version.stdout


WITHOUT_ENSUREPIP = """#!/bin/sh
# A Python whose ensurepip is missing: its venv needs --without-pip.
case "$*" in
    "-m venv"*--without-pip*) ;;
    "-m venv"*) mkdir -p "$3/bin"; ln -s {python} "$3/bin/python"; exit 1 ;;
esac
exec {python} "$@"
"""


@pytest.mark.long
def test_an_environment_is_made_without_ensurepip(clone: Path) -> None:
    python = clone / "python3.11"
    python.write_text(WITHOUT_ENSUREPIP.format(python=sys.executable))
    python.chmod(0o755)
    result = make(clone, ".venv/bin/pip", f"PYTHON={python}")
    assert result.returncode == 0, result.stderr
    subprocess.run([clone / ".venv" / "bin" / "python", "-m", "pip", "check"], check=True)


def test_clean_leaves_data_artifacts_and_logs(clone: Path) -> None:
    install(clone)
    for path in (".torchkeep/data/x", "torchkeep/__pycache__/x.pyc", ".mypy_cache/x", "build/x"):
        (clone / path).parent.mkdir(parents=True)
        (clone / path).touch()
    assert make(clone, "clean").returncode == 0
    left = {str(path.relative_to(clone)) for path in clone.rglob("*") if path.is_file()}
    assert left == {"Makefile", "pyproject.toml", "constraints.txt", ".torchkeep/data/x"}
