"""The test harness: what it lets pass, what it fails, and what it tidies up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.house.source_files import ROOT

PASSES = "def test_passes():\n    assert True\n"
FAILS = "def test_fails():\n    assert False\n"


class Project:
    """A small git repository with the real harness in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tests").mkdir(parents=True)
        (root / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
        shutil.copy(ROOT / "run-tests.py", root)
        for name in ("__init__.py", "skip_policy.py"):
            shutil.copy(ROOT / "tests" / name, root / "tests")
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True)

    def add(self, *sources: str) -> None:
        for number, source in enumerate(sources):
            (self.root / "tests" / f"test_{number}.py").write_text(source)
        self.git("add", "--all")

    def run(self, *arguments: str, ci: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {name: text for name, text in os.environ.items() if name != "CI"}
        environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | ({"CI": "true"} if ci else {})
        return subprocess.run(
            [sys.executable, str(self.root / "run-tests.py"), "-ra", *arguments],
            cwd=self.root.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def test_a_good_run_ends_with_pytests_closing_line(project: Project) -> None:
    project.add(PASSES)
    result = project.run()
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in last_line(result.stdout)
    assert result.stderr == ""


def test_a_failing_test_fails_the_run(project: Project) -> None:
    project.add(PASSES + FAILS)
    assert project.run().returncode == 1


def test_no_test_at_all_fails_the_run(project: Project) -> None:
    assert project.run().returncode != 0


def test_arguments_reach_pytest(project: Project) -> None:
    project.add(PASSES + FAILS)
    result = project.run("-k", "passes")
    assert result.returncode == 0
    assert "1 deselected" in last_line(result.stdout)


SKIPS = (
    "import pytest\n@pytest.mark.skip(reason='no mark')\ndef test_it(): pass\n",
    "import pytest\ndef test_it(): pytest.skip('no call')\n",
    "import pytest\n@pytest.fixture\ndef tool(): pytest.skip('no tool')\ndef test_it(tool): pass\n",
    "import pytest\npytest.skip('no module', allow_module_level=True)\n",
    "import pytest\npytest.importorskip('no_such_import')\n",
)
REASONS = ("no mark", "no call", "no tool", "no module", "could not import 'no_such_import'")


def test_in_ci_a_skip_for_any_other_reason_fails(project: Project) -> None:
    project.add(*SKIPS)
    result = project.run("--continue-on-collection-errors")
    assert result.returncode == 1
    assert "1 failed, 4 errors" in last_line(result.stdout)
    for reason in REASONS:
        assert f"skipped in CI: {reason}" in result.stdout


def test_without_ci_a_skip_is_a_skip_and_its_reason_is_shown(project: Project) -> None:
    project.add(PASSES, *SKIPS)
    result = project.run(ci=False)
    assert result.returncode == 0
    assert "1 passed, 5 skipped" in last_line(result.stdout)
    for reason in REASONS:
        assert reason in result.stdout


def test_in_ci_a_test_may_be_skipped_for_want_of_hardware(project: Project) -> None:
    reasons = ("needs CUDA", "needs a container engine: podman or docker")
    project.add(PASSES, *(f"import pytest\ndef test_it(): pytest.skip({r!r})\n" for r in reasons))
    result = project.run()
    assert result.returncode == 0, result.stdout
    assert "1 passed, 2 skipped" in last_line(result.stdout)
    for reason in reasons:
        assert reason in result.stdout


def test_an_expected_failure_is_not_a_skip(project: Project) -> None:
    project.add(f"import pytest\n@pytest.mark.xfail(strict=True)\n{FAILS}")
    result = project.run()
    assert result.returncode == 0, result.stdout
    assert "1 xfailed" in last_line(result.stdout)


DAEMON = """
import subprocess, sys
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
quiet = subprocess.DEVNULL
daemon = subprocess.Popen(sleeper, start_new_session=True, stdout=quiet, stderr=quiet)
print(daemon.pid, file=open("daemon.pid", "w"))
"""
LEAVES_A_DAEMON = """
import subprocess, sys
def test_it(): subprocess.run([sys.executable, "daemon.py"], check=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are only adopted on Linux")
def test_a_daemon_that_is_left_running_fails_the_run_and_is_ended(project: Project) -> None:
    (project.root / "daemon.py").write_text(DAEMON)
    (project.root / "daemon.pid").write_text("")
    project.add(LEAVES_A_DAEMON)
    result = project.run()
    daemon = (project.root / "daemon.pid").read_text().strip()
    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 passed" in result.stdout
    assert f"still running: {daemon} " in result.stderr
    assert not psutil.pid_exists(int(daemon))


def test_a_process_that_soon_ends_by_itself_is_forgiven(project: Project) -> None:
    project.add(
        "import subprocess, sys\n"
        "def test_it(): subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1)'])\n"
    )
    result = project.run()
    assert result.returncode == 0, result.stderr


def test_a_change_of_the_working_tree_fails_the_run(project: Project) -> None:
    project.add(
        "import pathlib\n"
        "def test_adds(): pathlib.Path('added.txt').touch()\n"
        "def test_edits(): pathlib.Path('tests/skip_policy.py').open('a').write('\\n')\n"
        "def test_removes(): pathlib.Path('.gitignore').unlink()\n"
    )
    result = project.run("-p", "no:cacheprovider")
    assert result.returncode == 1
    for line in ("?? added.txt", "AM tests/skip_policy.py", "AD .gitignore"):
        assert f"working tree: {line}" in result.stderr


def test_outside_a_repository_only_the_tests_count(project: Project) -> None:
    project.add(PASSES)
    shutil.rmtree(project.root / ".git")
    result = project.run()
    assert result.returncode == 0, result.stderr
