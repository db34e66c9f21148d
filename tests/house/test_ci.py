"""Continuous integration runs all checks, on pinned parts, with no rights to spare."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.house.mutation import REMOVED, changed
from tests.house.source_files import ROOT
from tests.house.workflow_rules import faults

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_keeps_the_rules(path: Path) -> None:
    assert faults(load(path)) == []


CHECK = "jobs check"
MUTATIONS: dict[str, tuple[str, Any]] = {
    "does not run on every push": ("on pull_request", REMOVED),
    "pull_request_target gives": ("on pull_request_target", None),
    "may do more than read": ("permissions packages", "write"),
    "no job runs .ci/run": (f"{CHECK} steps -1", REMOVED),
    "under Python 3.11": (f"{CHECK} steps 1 with python-version", "3.x"),
    "the runner is not pinned": (f"{CHECK} runs-on", "ubuntu-latest"),
    "no time limit": (f"{CHECK} timeout-minutes", REMOVED),
    "has permissions of its own": (f"{CHECK} permissions", {}),
    "is not pinned to a commit": (f"{CHECK} steps 1 uses", "actions/setup-python@v7"),
    "the checkout keeps the token": (f"{CHECK} steps 0 with", {}),
    "a step may fail": (f"{CHECK} steps -1 continue-on-error", True),
    "can inject commands": (f"{CHECK} steps -1 run", "echo ${{ github.head_ref }}"),
    "uses a secret": (f"{CHECK} steps -1 env", {"TOKEN": "${{ secrets.TOKEN }}"}),
}


@pytest.mark.parametrize(("fault", "change"), MUTATIONS.items(), ids=MUTATIONS.keys())
def test_a_broken_workflow_is_found(fault: str, change: tuple[str, Any]) -> None:
    workflow = load(ROOT / ".github" / "workflows" / "ci.yml")
    assert any(fault in found for found in faults(changed(workflow, *change)))


@pytest.mark.parametrize("script", ["run", "pin-constraints"])
def test_a_script_can_be_run_and_stops_at_the_first_error(script: str) -> None:
    path = ROOT / ".ci" / script
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.fixture
def recorded_make(tmp_path: Path) -> Path:
    """A clone's worth of `.ci/run` beside a Makefile that records what it is asked for."""
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "run"
    script.write_bytes((ROOT / ".ci" / "run").read_bytes())
    script.chmod(0o755)
    (tmp_path / "Makefile").write_text(
        "lint types browser test:\n\t@echo $@ CI=$$CI stdin=$$(cat | wc -c); test $@ != '$(FAIL)'\n"
    )
    return script


def run_ci(script: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        [str(script)], env=environment, input="typed", capture_output=True, text=True, check=False
    )


def test_ci_checks_style_then_types_then_tests_without_a_terminal(recorded_make: Path) -> None:
    result = run_ci(recorded_make)
    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        f"{target} CI=true stdin=0" for target in ("lint", "types", "browser", "test")
    ]


@pytest.mark.parametrize("target", ["lint", "types", "browser", "test"])
def test_ci_fails_where_a_check_does(recorded_make: Path, target: str) -> None:
    result = run_ci(recorded_make, FAIL=target)
    assert result.returncode != 0
    assert result.stdout.splitlines()[-1].startswith(target)
