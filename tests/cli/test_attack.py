"""`torchkeep attack` as a user runs it: what is refused, and once against a real TorchServe."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.in_process import run_here
from tests.cli.project import Project

HERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((HERE, "--attack", "pgd"), "--attack transfer --source"),
        ((HERE, "--attack", "sqare"), "Did you mean square?"),
        (("http://192.0.2.1:80",), "--i-own-this-endpoint"),
        (("http://127.0.0.1@192.0.2.1",), "more than a host"),
        ((HERE, "--threat", "linf:1.5"), "pixel's whole range"),
        ((HERE, "--threat", "patch:0.1"), "cannot do"),
        ((HERE, "--data", "digits", "-n", "5000"), "in the test set"),
        ((HERE, "--data", "digits", "--attack", "transfer"), "--source ARTIFACT"),
        ((HERE, "--data", "digits", "--pixels", "float16"), "float32 or uint8"),
        ((HERE, "--data", "digits", "--samples", "s.png"), ".csv or a .jsonl"),
        ((HERE, "--data", "digits", "-n", "1"), "the same command goes on"),
    ],
)
def test_one_line_and_exit_code_2(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    done = run_here(tmp_path, "attack", *words)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert told in last
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def up(project: Project) -> dict[str, Any]:
    return project.json("up", "--recipe", "digits-quick")


@pytest.mark.torchserve
@pytest.mark.parametrize("over", ["rest", "grpc"])
def test_square_against_a_real_server(project: Project, up: dict[str, Any], over: str) -> None:
    words = ("attack", up[over], "--data", "digits", "-n", "5", "--queries", "400")
    samples = project.folder / f"{over}.jsonl"
    first = project.json(*words, "--samples", str(samples))
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    assert first["attacked"] == len(rows) == 5
    assert first["queries_used"] == sum(first["statuses"].values()) <= 400
    assert first["fooled"] + first["already_wrong"] > 0
    table = project.folder / f"{over}.csv"
    again = project.json(*words, "--samples", str(table))
    with table.open(newline="", encoding="utf-8") as file:
        assert [row["outcome"] for row in csv.DictReader(file)] == [row["outcome"] for row in rows]
    assert again["statuses"] == {}  # nothing is asked twice
    assert again["queries_used"] == first["queries_used"]


@pytest.mark.torchserve
def test_ctrl_c_keeps_what_was_found(project: Project, up: dict[str, Any]) -> None:
    words = ("attack", up["rest"], "--data", "digits", "-n", "20", "--queries", "8000")
    words += ("--threat", "linf:0.001", "--batch", "1", "--json")
    folder = project.folder / ".torchkeep" / "attacks"
    before = set(folder.glob("*"))
    process = subprocess.Popen(
        project.command(*words),
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for_an_image(folder, before)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    kept = json.loads(printed)
    assert 1 <= kept["attacked"] < 20
    (path,) = set(folder.glob("*")) - before
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum(row["queries"] for row in rows) == kept["queries_used"]
    assert sum(row["type"] == "image" for row in rows) == kept["attacked"]


def _wait_for_an_image(folder: Path, before: set[Path]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if any(path.stat().st_size for path in set(folder.glob("*")) - before):
            return
        time.sleep(0.02)
    pytest.fail("no image was finished in a minute")
