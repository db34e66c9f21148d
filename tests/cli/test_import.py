"""`torchkeep import`: from a file of weights to a server that screens, or one line why not."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.architectures import networks
from tests.cli.project import Project
from tests.house.source_files import ROOT
from tests.training.elsewhere import MEAN, STD, save_elsewhere, train_elsewhere
from torchkeep.data import Splits

NETS = "their_networks"
MODEL = f"{NETS}:LogSoftmax"
TRUSTED = {"TORCHKEEP_MODELS_TRUSTED": MODEL}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, nowhere installed, with the module of the network's class."""
    folder = tmp_path_factory.mktemp("code")
    content = Path(networks.__file__).read_text(encoding="utf-8")
    (folder / f"{NETS}.py").write_text(content, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def weights(digits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    return save_elsewhere(train_elsewhere(digits.train), folder / "net.safetensors")


@pytest.fixture(scope="module")
def found(code: Path) -> dict[str, str]:
    """What makes the class be found."""
    return {"PYTHONPATH": f"{code}:{ROOT}"}


@pytest.fixture(scope="module")
def words(weights: Path) -> tuple[str, ...]:
    options = ("--mean", str(MEAN), "--std", str(STD), "--eps", "0.2")
    return ("import", str(weights), "--model", MODEL, "--data", "digits", *options)


@pytest.fixture(scope="module")
def imported(project: Project, words: tuple[str, ...], found: dict[str, str]) -> dict[str, Any]:
    done = project.run(*words, "--json", **found)
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_it_tells_what_it_made(imported: dict[str, Any], project: Project) -> None:
    assert (imported["model"], imported["version"]) == ("net", "1.0")
    assert imported["artifact"] == str(project.folder / ".torchkeep" / "artifacts" / "net-1.0")
    assert imported["metrics"]["clean_accuracy"] > 0.9
    assert imported["metrics"]["threat_model"] == "linf 0.2"
    assert imported["screening"]["calibration"]["fpr_upper_bound"] <= 0.01
    assert (imported["output"], imported["trusted"]) == ("log-probabilities", False)
    assert imported["train_record"]["recipe"] == "imported"


def test_people_are_told_what_to_trust(
    project: Project, words: tuple[str, ...], found: dict[str, str]
) -> None:
    options = ("--taps", "none", "--version", "2", "--out", "told", "--eps", "8/255")
    done = project.run(*words, *options, **found)
    assert done.returncode == 0, done.stderr
    assert "its output is log-probabilities; the logits before them are served" in done.stdout
    assert "detectors see the features before the last layer only" in done.stdout
    assert "linf 0.0313725" in done.stdout
    assert f'to use it, write trusted = ["{MODEL}"] below [models]' in done.stdout
    again = project.run(*words, *options, "--mean", "90", **found, **TRUSTED)
    assert "to use it" not in again.stdout
    assert "hardly better than chance" in again.stdout


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("--model", "LogSoftmax"), "names no class"),
        (("--model", "no_such_package:Net"), "Install its package, or name the folder"),
        (("--model", f"{NETS}:LogSoftmaxx"), "Did you mean 'LogSoftmax'?"),
        (("--option", "classes"), "Write it as key=value."),
        (("--option", "hidden=31"), "of another shape (fc1.bias (32, not 31)"),
        (("--mean", "grey"), "--mean is 'grey'. Give one number"),
        (("--mean", "0.1,0.2"), "do not fit. Give as many of each"),
        (("--eps", "8/0"), "--eps is '8/0'. Give 0.1, or 8/255."),
        (("--eps", "-1"), "eps must be positive"),
        (("--norm", "l7"), "Choose from: linf, l2, l1."),
        (("--taps", "fc1"), "'fc1' cannot be tapped"),
        (("--target-fpr", "0.0001"), "cannot show a false-positive rate"),
        (("--name", "a b"), "is no model name"),
        (("--data", "nowhere"), "nowhere"),
        (("--out", "."), "cannot be replaced"),
    ],
)
def test_a_fault_is_one_line_exit_code_2_and_leaves_nothing(
    project: Project,
    words: tuple[str, ...],
    found: dict[str, str],
    imported: dict[str, Any],
    changed: tuple[str, ...],
    told: str,
) -> None:
    artifacts = project.folder / ".torchkeep" / "artifacts"
    before = sorted(artifacts.iterdir())
    done = project.run(*words, "--version", "3", *changed, **found)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert told in last
    assert "Traceback" not in done.stderr
    assert sorted(artifacts.iterdir()) == before


def test_what_is_broken_off_leaves_nothing(
    words: tuple[str, ...], found: dict[str, str], tmp_path: Path
) -> None:
    project = Project(tmp_path)
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        project.command(*words),
        cwd=tmp_path,
        env=project.environment | found | {"TMPDIR": str(tmp_path / "tmp")},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("attack training images"):
                break
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "error: interrupted" in rest
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list(tmp_path.glob(".torchkeep/artifacts/*")) == []


def test_a_class_in_this_folder_is_told_where_it_must_lie(
    project: Project, words: tuple[str, ...], imported: dict[str, Any]
) -> None:
    here = project.folder / "code_here"
    here.mkdir()
    (here / f"{NETS}.py").touch()
    command = Project(here).run(*words, PYTHONSAFEPATH="1", TORCHKEEP_HOME=str(here / "home"))
    assert command.returncode == 2
    assert f"set PYTHONPATH={here}." in command.stderr


def test_where_its_class_is_not_trusted_no_verb_takes_it(
    project: Project, imported: dict[str, Any], found: dict[str, str]
) -> None:
    artifact = imported["artifact"]
    for words in (("up", "--artifact", artifact), ("fit-detectors", artifact, "--seed", "1")):
        done = project.run(*words, **found)
        assert done.returncode == 2
        last = done.stderr.strip().splitlines()[-1]
        assert f"error: {MODEL} is not trusted, so it is not imported." in last
        assert f'trusted = ["{MODEL}"] below [models]' in last


@pytest.mark.torchserve
def test_it_is_served_screened_and_reported_like_any_other(
    project: Project, imported: dict[str, Any], found: dict[str, str]
) -> None:
    artifact, variables = imported["artifact"], found | TRUSTED
    fitted = project.run("fit-detectors", artifact, "--target-fpr", "0.02", **variables)
    assert fitted.returncode == 0, fitted.stderr
    packed = project.run("package", artifact, "--model-store", "store", **variables)
    assert packed.returncode == 0, packed.stderr
    done = project.run("up", "--artifact", artifact, "--json", **variables)
    assert done.returncode == 0, done.stderr
    up = json.loads(done.stdout)
    assert (up["model"], up["version"]) == ("net", "1.0")
    shown = up["demonstration"]
    assert [one["status"] for one in shown] == ["ok"] * 4
    assert shown[0]["label"] == shown[2]["label"] != shown[1]["label"]
    assert all(one["record"]["screening"]["heads"].keys() for one in shown)
    report = project.run("screen-report", "--artifact", artifact, "--json", **variables)
    assert report.returncode == 0, report.stderr
    measured = json.loads(report.stdout)
    assert measured["digest"] == up["artifact_digest"]
    assert measured["clean_accuracy"] == pytest.approx(imported["metrics"]["clean_accuracy"])
    assert measured["fpr"] <= 0.05
    assert measured["attacked"]["auroc"] > 0.95


@pytest.mark.torchserve
def test_a_worker_refuses_what_its_settings_do_not_trust(
    project: Project, imported: dict[str, Any], tmp_path: Path
) -> None:
    from release.package import package
    from release.server import start
    from tests.release.conftest import settings
    from tests.release.serving import assert_nothing_left
    from torchkeep.artifact import ModelArtifact
    from torchkeep.errors import ServerError
    from torchkeep.paths import Home

    archive = package(ModelArtifact.load(Path(imported["artifact"])), tmp_path / "store")
    home = Home(tmp_path / "home")
    with pytest.raises(ServerError, match=f"{MODEL} is not trusted, so it is not imported"):
        start(home, archive, settings=settings())
    assert_nothing_left(home)
