"""What a user does wrong costs one line and exit code 2; what is broken off leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from release.ports import GATEWAY_PORTS
from release.server_config import PORTS
from tests.cli.in_process import run_here
from torchkeep import __version__
from torchkeep.cli.main import VERBS, verb_name
from torchkeep.command_line import complain


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torchkeep.cli", *words],
        cwd=folder,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "--recipe", "mnist-quik"), "Did you mean 'mnist-quick'?"),
        (("train", "--recipe", "digits-quick", "--epochs", "0"), "must be 1 or more"),
        (("train", "--recipe", "digits-quick", "--device", "cuda:9x"), "no device"),
        (("train", "--recipe", "digits-quick", "--version", "new"), "is no version"),
        (("train", "--recipe", "digits-quick", "--name", "a b"), "is no model name"),
        (("train", "--recipe", "digits-quick", "--out", "."), "cannot be replaced"),
        (("up", "--recipe", "digits"), "Give one of digits-natural, digits-quick"),
        (("up", "--artifact", "nowhere"), "nowhere/artifact.json: No such file"),
        (("fit-detectors", "nowhere"), "nowhere/artifact.json: No such file"),
        (("package", "nowhere"), "No such file"),
        (("screen-report",), "torchkeep up"),
        (("data", "minst"), "mnist"),
        (("train", "--data", "nowhere"), "nowhere"),
        (("train", "--recipe", "digits-pgd", "--eps", "1.5"), "pixel's whole range"),
        (("train", "--recipe", "digits-pgd", "--accumulate", "3"), "multiple of 3"),
        (("train", "--recipe", "digits-pgd", "--processes", "0"), "0 processes"),
    ],
)
def test_one_line_and_exit_code_2(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    sections = {"server": PORTS, "gateway": GATEWAY_PORTS}  # a server may run beside the tests
    free = [
        f"[{name}]\n" + "".join(f"{p} = 0\n" for p in ports) for name, ports in sections.items()
    ]
    (tmp_path / "torchkeep.toml").write_text("".join(free))
    done = run_here(tmp_path, *words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert (tmp_path / "torchkeep.toml").exists()
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert told in lines[-1]
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_told_whatever_the_verb(tmp_path: Path) -> None:
    (tmp_path / "torchkeep.toml").write_text("[screening]\npolicy = 'rejct'\n[limts]\n")
    done = run(tmp_path, "up", "--recipe", "digits-quick")
    assert done.returncode == 2
    assert "Did you mean 'limits'?" in done.stderr


def test_an_unknown_option_is_exit_code_2(tmp_path: Path) -> None:
    assert run(tmp_path, "train", "--recipes", "x").returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_broken_off_training_leaves_no_artifact(tmp_path: Path, number: signal.Signals) -> None:
    words = ("train", "--recipe", "digits-quick", "--epochs", "100000")
    process = subprocess.Popen(
        [sys.executable, "-m", "torchkeep.cli", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("train"):
                break
        process.send_signal(number)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "error: interrupted" in rest
    assert "Traceback" not in rest
    assert list(tmp_path.glob(".torchkeep/artifacts/*")) == []


def test_train_prints_json_alone_on_stdout(tmp_path: Path) -> None:
    words = ("train", "--recipe", "digits-quick", "--epochs", "1", "--json")
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["train_record"]["config"]["epochs"] == 1
    assert Path(told["artifact"]).is_dir()
    fitted = run(tmp_path, "fit-detectors", told["artifact"], "--json")
    assert json.loads(fitted.stdout)["fpr_upper_bound"] <= 0.01
    other = run(tmp_path, "fit-detectors", told["artifact"], "--data", str(tmp_path))
    assert other.returncode == 2


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from torchkeep.cli.main import main
sys.argv = ["torchkeep", "train", "--recipe", "digits-quick", "--epochs", "1"]
main()
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    run(tmp_path, "data", "digits")
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: File too large")
    assert "Traceback" not in done.stderr
    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        path for path in before if path.is_file()
    ]


def test_the_version_is_told(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout.strip() == __version__


@pytest.mark.parametrize("verb", [verb_name(verb) for verb in VERBS])
def test_every_help_has_an_example(tmp_path: Path, verb: str) -> None:
    done = run_here(tmp_path, verb, "--help", COLUMNS="100")
    assert done.returncode == 0
    assert "Examples" in done.stdout
    assert f"torchkeep {verb}" in done.stdout.partition("Examples")[2]


def test_what_a_caller_chose_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    complain("no model \x1b[31m\x9b2J\r here")
    told = capsys.readouterr().err
    assert told.replace("\N{REPLACEMENT CHARACTER}", "?") == "error: no model ?[31m?2J? here\n"
