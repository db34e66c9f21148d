"""`torchkeep compare-reports`: what it prints, and when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from robustness.evaluation.report import Share
from tests.render.markup import Seen
from tests.robustness.report.sample import full
from torchkeep.cli.compare_reports import compare_reports, read
from torchkeep.errors import DataError, SettingsError


def compare(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torchkeep.cli", "compare-reports", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def reports(tmp_path: Path) -> tuple[Path, Path]:
    """A report in a folder, and a file of one that is worse."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old/report.json").write_bytes(full("mnist", ("linf 0.3",)).to_json())
    worse = replace(full("mnist", ("linf 0.3",)), clean_accuracy=Share.of(900, 1000))
    (tmp_path / "new.json").write_bytes(worse.to_json())
    return tmp_path / "old", tmp_path / "new.json"


def test_worse_is_told_and_fails_if_asked(reports: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    told = compare(*reports, "--html", page, "--fail-if-worse")
    assert told.returncode == 5
    assert "WORSE: clean accuracy: 98.40%" in told.stdout
    assert "clean accuracy: worse" in told.stderr
    assert Seen(page.read_text()).faults == []


def test_json_is_one_object(reports: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    compare_reports(*reports, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["like"]
    assert [d["outcome"] for d in printed["differences"]].count("worse") == 1


def test_better_and_the_same_do_not_fail(
    reports: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    compare_reports(reports[1], reports[0], fail_if_worse=True)
    compare_reports(reports[0], reports[0], fail_if_worse=True)
    told = capsys.readouterr().out
    assert "BETTER: clean accuracy" in told
    assert "WORSE" not in told


def test_what_is_no_report_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="torchkeep evaluate"):
        read(tmp_path)
    file = tmp_path / "x.json"
    file.write_text('{"schema": 1}')
    with pytest.raises(DataError, match="report"):
        read(file)
    file.write_text('{"schema": 2}')
    with pytest.raises(SettingsError, match="schema 2"):
        read(file)
