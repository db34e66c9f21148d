"""`torchkeep learning-curve`: what it prints, what it keeps, and what it refuses in one line."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.project import Project
from tests.render.markup import Seen

SHORT = ("learning-curve", "digits", "--sizes", "50,80,130,210,340", "--repeats", "2")
QUICK = (*SHORT, "--epochs", "2", "--more", "100")


def test_it_answers_writes_a_page_and_trains_nothing_twice(project: Project) -> None:
    page = project.folder / "curve.html"
    done = project.run(*QUICK, "--report", str(page))
    assert done.returncode == 0, done.stderr
    assert "100 more labels" in done.stdout
    assert "held out: foretold" in done.stdout
    assert Seen(page.read_text()).faults == []
    kept = {
        file: file.stat().st_mtime_ns
        for file in (project.folder / ".torchkeep" / "learning-curves").iterdir()
    }
    assert len(kept) == 10
    told = project.json(*QUICK)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert told["recipe"] == "digits-natural"
    assert told["more"] == 100
    assert [point["size"] for point in told["points"]] == [50, 80, 130, 210, 340]
    assert len(told["backtests"]) == 1
    if told["doubts"]:
        assert told["gain"] is None
    assert project.json(*QUICK) == told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("digits", "--sizes", "50,80,x"), "are no numbers"),
        (("digits", "--sizes", "50,80,130,210,34000"), "training images"),
        (("digits", "--more", "0"), "0 more labels"),
        (("digits", "--recipe", "digits-naturel"), "Did you mean"),
        (("digits", "--device", "cuda:9x"), "no device"),
        (("nowhere",), "--recipe mnist-natural"),
    ],
)
def test_one_line_and_exit_code_2(project: Project, words: tuple[str, ...], told: str) -> None:
    done = project.run("learning-curve", *words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert told in last
    assert "Traceback" not in done.stderr


def test_own_data_of_one_class_are_told(project: Project, tmp_path: Path) -> None:
    import numpy as np

    images = np.zeros((40, 8, 8), np.uint8)
    np.savez(tmp_path / "one.npz", x_train=images, y_train=np.zeros(40, np.int64))
    done = project.run("learning-curve", str(tmp_path / "one.npz"), "--recipe", "digits-natural")
    assert done.returncode == 2, done.stderr
    assert "class" in done.stderr.strip().splitlines()[-1]


def test_a_broken_off_study_keeps_its_finished_trainings(project: Project) -> None:
    home = project.folder / "home"
    command = project.command(*SHORT, "--epochs", "60", "--seed", "5")
    process = subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment | {"TORCHKEEP_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            done, _, total = line.rpartition(" ")[2].partition("/")
            if line.startswith("train on growing") and 4 * int(done) > int(total):
                break
        process.send_signal(signal.SIGINT)
        printed, rest = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert printed == ""
    assert "error: interrupted" in rest
    assert "Traceback" not in rest
    files = [*(home / "learning-curves").iterdir()]
    assert 0 < len(files) < 10
    assert all(json.loads(file.read_bytes())["point"]["images"] > 0 for file in files)
