"""`torchkeep evaluate` on a small network: its report, its end at any moment, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from robustness.evaluation.report import RobustnessReport
from tests.conftest import quiet
from torchkeep.artifact import ModelArtifact
from torchkeep.errors import SettingsError

pytestmark = pytest.mark.timeout(280)
DEADLINE = 120


class Desk:
    """Where evaluations of one artifact are made: a home of its own."""

    def __init__(self, artifact: ModelArtifact, home: Path) -> None:
        self.artifact = artifact
        self.home = home
        self.surroundings = os.environ | {
            "TORCHKEEP_HOME": str(home),
            "TORCHKEEP_DATA_DIRECTORY": str(home / "data"),
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "torchkeep.cli", "evaluate", str(self.artifact.path), *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            env=self.surroundings,
            cwd=self.home,
            check=False,
            timeout=250,
        )

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*words),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.surroundings,
            cwd=self.home,
        )

    def blocks(self) -> dict[str, int]:
        """Return the finished blocks, and when each was written."""
        found = self.home.glob("evaluations/*/blocks/*.safetensors")
        return {path.name: path.stat().st_mtime_ns for path in found}


@pytest.fixture
def desk(digits_artifact: ModelArtifact, tmp_path: Path) -> Desk:
    return Desk(digits_artifact, tmp_path)


def runs(process: psutil.Process) -> bool:
    """Whether a process still does something: an ended one may wait for whoever adopted it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def told(text: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text)
    return value


@pytest.fixture(scope="module")
def quick(
    digits_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Desk]:
    desk = Desk(digits_artifact, tmp_path_factory.mktemp("quick"))
    result = desk.run("--quick", "-n", "60", "--block", "30", "--json")
    assert result.returncode == 0, result.stderr
    return told(result.stdout), desk


def test_the_quick_report_says_everything(quick: tuple[dict[str, Any], Desk]) -> None:
    report = quick[0]["report"]
    assert report["circumstances"]["quick"]
    assert report["circumstances"]["n"] == 60
    assert {threat["threat"].split()[0] for threat in report["threats"]} == {
        "linf",
        "l2",
        "l1",
        "patch",
    }
    names = {attack["name"] for attack in report["attacks"]}
    assert {"FGSM", "PGD", "APGD-CE", "APGD-T", "Joint APGD", "Patch"} <= names
    assert "AutoAttack (standard)" not in names  # these are not its budgets
    assert len(report["checks"]) >= 7
    assert report["corruptions"]
    assert report["certification"]
    assert report["security_curves"][0]["points"][0] == {
        "x": 0.0,
        "y": report["clean_accuracy"]["share"],
    }
    assert "transfer" in report["not_run"]


def test_the_figures_follow_from_the_results_of_each_image(
    quick: tuple[dict[str, Any], Desk],
) -> None:
    report, files = quick[0]["report"], quick[0]["files"]
    table = rows(Path(files["samples"]))
    clean = [row for row in table if row["attack"] == "clean"]
    assert [int(row["index"]) for row in clean] == list(range(60))
    right = {row["index"] for row in clean if row["right"] == "1"}
    accepted = {row["index"] for row in clean if row["suspicious"] == "0"}
    assert report["clean_accuracy"]["count"] == len(right)
    trained = report["threats"][0]
    struck = [row for row in table if row["threat"] == trained["threat"] and row["attacked"] == "1"]
    turned = {row["index"] for row in struck if row["right"] == "0"}
    won = {row["index"] for row in struck if row["right"] == "0" and row["suspicious"] == "0"}
    assert trained["robust_accuracy"]["count"] == len(right - turned)
    assert trained["with_detection"]["count"] == len((right & accepted) - won)
    eps = float(trained["threat"].split()[1])
    assert max(float(row["linf"]) for row in struck) <= eps + 1e-5


def test_the_files_are_whole_and_the_json_is_read_back(quick: tuple[dict[str, Any], Desk]) -> None:
    files = {name: Path(path) for name, path in quick[0]["files"].items()}
    assert all(path.stat().st_size > 500 for path in files.values())
    path = next(path for path in files.values() if path.name == "report.json")
    report = RobustnessReport.from_json(path.read_bytes(), path)
    assert orjson.loads(report.to_json()) == quick[0]["report"]


def test_the_same_command_repeats_nothing(quick: tuple[dict[str, Any], Desk]) -> None:
    desk = quick[1]
    before = desk.blocks()
    again = desk.run("--quick", "-n", "60", "--block", "30", "--json", "--fail-under", "clean>=0.5")
    assert again.returncode == 0, again.stderr
    assert desk.blocks() == before
    one, two = quick[0]["report"], told(again.stdout)["report"]
    for varying in ("circumstances",):
        del one[varying], two[varying]
    assert one == two


def test_a_figure_that_is_not_as_good_as_required_is_exit_code_5(
    quick: tuple[dict[str, Any], Desk],
) -> None:
    result = quick[1].run("--quick", "-n", "60", "--block", "30", "--fail-under", "robust>=0.999")
    assert result.returncode == 5
    assert result.stderr.count("error:") == 1


NAMED = ("--attack", "pgd", "--attack", "joint", "-n", "40", "--block", "20", "--quick")
FEW = ("--quick", "--attack", "pgd", "--attack", "fab-t", "-n", "90", "--block", "3")


def test_two_processes_find_for_each_image_what_one_finds(desk: Desk, tmp_path: Path) -> None:
    tables = []
    for processes in ("1", "2"):
        home = tmp_path / processes
        home.mkdir()
        other = Desk(desk.artifact, home)
        result = other.run(*NAMED, "--processes", processes, "--json")
        assert result.returncode == 0, result.stderr
        tables.append(Path(told(result.stdout)["files"]["samples"]).read_text())
    assert tables[0] == tables[1]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_after_any_end_it_goes_on_and_repeats_no_finished_block(
    desk: Desk, ending: signal.Signals
) -> None:
    words = (*FEW, "--processes", "2")
    process = desk.start(*words)
    deadline = time.monotonic() + DEADLINE
    while len(desk.blocks()) < 12 and time.monotonic() < deadline:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(ending)
    assert process.wait(20) == (-9 if ending is signal.SIGKILL else 130)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [child for child in alive if runs(child)]  # workers end with who started them
    finished = desk.blocks()
    assert len(finished) >= 12
    result = desk.run(*words, "--json")
    assert result.returncode == 0, result.stderr
    after = desk.blocks()
    assert {name: after[name] for name in finished} == finished
    assert len(after) > len(finished)


def test_a_worker_that_dies_is_told_and_what_was_finished_is_kept(desk: Desk) -> None:
    words = (*FEW, "--processes", "1")
    process = subprocess.Popen(
        desk.command(*words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=desk.surroundings,
        cwd=desk.home,
    )
    deadline = time.monotonic() + DEADLINE
    while len(desk.blocks()) < 8 and time.monotonic() < deadline:
        time.sleep(0.05)
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "signal 9" in errors
    assert "goes on where it was" in errors
    assert len(desk.blocks()) >= 8


def test_a_full_disk_is_told_in_one_line_and_what_was_finished_is_kept(desk: Desk) -> None:
    words = ("--quick", "--attack", "pgd", "-n", "200", "--block", "200")
    assert desk.run(*words, "--time-limit", "0").returncode == 4  # fetches the data
    limit = 40_000  # bytes of a file: the images fit, an attack's result does not
    result = subprocess.run(
        desk.command(*words),
        capture_output=True,
        text=True,
        env=desk.surroundings,
        cwd=desk.home,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == 2, result.stderr
    assert "File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert "clean.0.safetensors" in desk.blocks()
    assert not list(desk.home.glob("evaluations/*/blocks/.*"))  # nothing half-written


def test_when_the_time_is_up_it_ends_with_4(desk: Desk) -> None:
    result = desk.run(*FEW, "--time-limit", "0")
    assert result.returncode == 4
    assert "goes on where it was" in result.stderr


@pytest.mark.parametrize(
    ("ordered", "what"),
    [
        ({"threats": ("linf:1.5",)}, "pixel's whole range"),
        ({"threats": ("linf:-0.1",)}, "positive and finite"),
        ({"threats": ("linf:nan",)}, "positive and finite"),
        ({"threats": ("loo:0.1",)}, "no threat model"),
        ({"threats": ("patch:0.1",)}, "Name a norm first"),
        ({"attacks": ("pdg",)}, "Did you mean pgd?"),
        ({"attacks": ("transfer",)}, "--transfer-from"),
        ({"attacks": ("patch",)}, "cannot do linf"),
        ({"attacks": ("auto-attack",)}, "no quick form"),
        ({"images": 100_000}, "Give -n up to"),
        ({"first": 100_000}, "smaller --first"),
        ({"device": "tpu"}, "Give cpu, cuda"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_begun(
    ordered: dict[str, Any], what: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchkeep.cli.evaluation import Order, run

    monkeypatch.setenv("TORCHKEEP_HOME", str(desk.home))
    monkeypatch.setenv("TORCHKEEP_DATA_DIRECTORY", str(desk.home / "data"))
    with pytest.raises(SettingsError) as refused:
        run(Order(artifact=desk.artifact.path, quick=True, **ordered), quiet)
    assert what in str(refused.value)
    assert not (desk.home / "evaluations").exists()


def test_auto_attack_is_told_as_one_and_as_its_four(desk: Desk) -> None:
    result = desk.run("--attack", "auto-attack", "-n", "4", "--block", "4", "--json")
    assert result.returncode == 0, result.stderr
    report = told(result.stdout)["report"]
    by_name = {attack["name"]: attack for attack in report["attacks"]}
    assert list(by_name) == ["APGD-CE", "APGD-T", "FAB-T", "Square", "AutoAttack (standard)"]
    assert {attack["threat"] for attack in by_name.values()} == {report["threats"][0]["threat"]}
    worst = min(attack["accuracy"]["count"] for attack in list(by_name.values())[:4])
    assert by_name["AutoAttack (standard)"]["accuracy"]["count"] <= worst
    assert "auto-attack" in report["not_run"]["the standard attacks"]


def test_a_refusal_is_one_line_and_exit_code_2(desk: Desk) -> None:
    result = desk.run("--quick", "--fail-under", "robustness>9")
    assert result.returncode == 2
    assert result.stderr.count("error:") == 1
    assert "Traceback" not in result.stderr


def test_an_artifact_of_a_newer_schema_is_refused(desk: Desk, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    for file in desk.artifact.path.iterdir():
        (newer / file.name).write_bytes(file.read_bytes())
    manifest = orjson.loads((newer / "artifact.json").read_bytes())
    (newer / "artifact.json").write_bytes(orjson.dumps(manifest | {"schema": 99}))
    command = [sys.executable, "-m", "torchkeep.cli", "evaluate", str(newer), "--quick"]
    result = subprocess.run(
        command, capture_output=True, text=True, env=desk.surroundings, check=False
    )
    assert result.returncode == 2
    assert "schema 99" in result.stderr
