"""The whole way once, as a user goes it: `torchkeep up`, ask, measure, look, `torchkeep down`."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.cli.project import Project
from tests.house.doc_blocks import needs_server, run_python
from tests.house.source_files import ROOT
from torchkeep.data import Splits

pytestmark = pytest.mark.torchserve

PAGES = [
    page
    for page in sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
    if needs_server(page.read_text(encoding="utf-8"))
]


@pytest.fixture(scope="module")
def up(project: Project) -> dict[str, Any]:
    return project.json("up", "--recipe", "digits-quick")


def test_up_shows_both_images_over_both_protocols(up: dict[str, Any]) -> None:
    shown = up["demonstration"]
    assert [(one["image"], one["over"]) for one in shown] == [
        ("clean", "REST"),
        ("attacked", "REST"),
        ("clean", "gRPC"),
        ("attacked", "gRPC"),
    ]
    assert {one["model_version"] for one in shown} == {"1.0"}
    assert len({one["request_id"] for one in shown}) == 4
    clean, attacked = shown[::2], shown[1::2]
    assert clean[0]["label"] == clean[1]["label"] != attacked[0]["label"] == attacked[1]["label"]
    for one in shown:
        assert one["record"]["request_id"] == one["request_id"]
        assert one["record"]["request_type"]["protocol"] == "gateway"
        assert one["record"]["screening"]["verdict"] == one["verdict"]
    scores = [one["record"]["screening"]["score"] for one in shown]
    assert min(scores[1], scores[3]) > max(scores[0], scores[2])


def test_status_tells_what_runs(project: Project, up: dict[str, Any]) -> None:
    status = project.json("status")
    for key in ("rest", "grpc", "observe", "model", "version", "request_log", "pids"):
        assert status[key] == up[key]
    addresses = [up[key] for key in ("rest", "grpc", "torchserve_rest", "torchserve_grpc")]
    assert len(set(addresses)) == 4
    assert (status["model"], status["version"]) == ("digits", "1.0")
    assert all(psutil.pid_exists(pid) for pid in status["pids"]["workers"])
    assert max(status["memory_bytes"]["workers"]) < 1.5 * 1024**3


def test_a_second_up_serves_what_is_there(project: Project, up: dict[str, Any]) -> None:
    artifact = project.folder / ".torchkeep" / "artifacts" / "digits-1.0" / "artifact.json"
    before = artifact.stat().st_mtime_ns
    again = project.json("up", "--recipe", "digits-quick")
    assert again["pids"] == up["pids"]
    assert artifact.stat().st_mtime_ns == before


def test_the_report_is_measured_through_the_server(project: Project, up: dict[str, Any]) -> None:
    log = Path(up["request_log"])
    before = sum(path.stat().st_size for path in log.iterdir())
    report = project.json("screen-report", "--attacked", "60")
    assert sum(path.stat().st_size for path in log.iterdir()) > before
    assert report["digest"] == up["artifact_digest"]
    assert report["clean_images"] == 269
    assert report["clean_accuracy"] > 0.9
    assert report["fpr"] <= 0.05
    assert report["attacked"]["images"] == 60
    assert report["attacked"]["auroc"] > 0.9
    assert 0 < report["successful"]["images"] < 60
    over_rest = project.json("screen-report", "--attacked", "60", "--over", "rest")
    assert over_rest == report


def test_monitoring_finds_out_what_is_simulated(project: Project, up: dict[str, Any]) -> None:
    for shift, detected in (("brightness", True), ("none", False)):
        told = project.json("monitor", "--simulate", shift)
        assert told["artifact_digest"] == up["artifact_digest"]
        assert told["simulated"]["detected"] is detected


def test_predict_and_log_find_each_other(project: Project, up: dict[str, Any]) -> None:
    image = project.folder / "image.npy"
    np.save(image, np.zeros((1, 8, 8), np.uint8))
    answer = project.json("predict", str(image))
    records = project.json("log", "--request-id", answer["request_id"])
    assert answer["request_id"] in json.dumps(records)


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_python_of_a_page_runs_against_the_server(
    page: Path, project: Project, up: dict[str, Any], tmp_path: Path
) -> None:
    told = {
        "TORCHKEEP_URL": up["rest"],
        "TORCHKEEP_GRPC_URL": up["grpc"],
        "TORCHKEEP_MODEL": up["model"],
        "TORCHKEEP_TOKEN": project.run("token").stdout.strip(),
    }
    here = tmp_path / page.name  # the pages speak of MNIST; the model here sees 8 × 8 pixels
    here.write_text(page.read_text(encoding="utf-8").replace("(1, 28, 28)", "(1, 8, 8)"))
    result = run_python(here, tmp_path, **told)
    assert result.returncode == 0, result.stderr


def test_down_leaves_nothing(project: Project, up: dict[str, Any]) -> None:
    pids = project.json("status")["pids"]
    assert project.run("down").returncode == 0
    for pid in (pids["supervisor"], pids["gateway"], pids["frontend"], *pids["workers"]):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"
    ports = [int(up[name].rpartition(":")[2]) for name in ("rest", "grpc", "observe")]
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    refused = project.run("screen-report")
    assert refused.returncode == 2
    assert "torchkeep up" in refused.stderr


@pytest.mark.parametrize("setting", ["TORCHKEEP_SERVER_REST_PORT", "TORCHKEEP_GATEWAY_GRPC_PORT"])
def test_a_port_in_use_is_one_line_and_exit_code_2(
    project: Project, up: dict[str, Any], setting: str
) -> None:
    project.run("down")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = project.run("up", "--recipe", "digits-quick", **{setting: port})
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert port in last
    assert "Traceback" not in done.stderr
    assert not project.json("status")["running"]


def test_foreground_stops_on_sigterm_and_leaves_nothing(
    project: Project, up: dict[str, Any]
) -> None:
    project.run("down")
    process = subprocess.Popen(
        project.command("up", "--recipe", "digits-quick", "--foreground"),
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if "stop with" in line:
                break
        pids = project.json("status")["pids"]
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not psutil.pid_exists(pids["frontend"])
    assert not psutil.pid_exists(pids["gateway"])


def test_own_data_goes_all_the_way(project: Project, digits: Splits) -> None:
    pair = {"x_train": digits.train, "x_test": digits.test}
    arrays = {name: images.images[:, 0] for name, images in pair.items()}
    labels = {name.replace("x", "y"): images.labels for name, images in pair.items()}
    np.savez(project.folder / "own.npz", **arrays, **labels)
    own = str(project.folder / "own.npz")
    words = ("--recipe", "digits-quick", "--data", own, "--name", "own", "--version", "1.1")
    words += ("--unscanned",)
    artifact = project.json("train", *words, "--out", "own-model", "--epochs", "8")["artifact"]
    project.json("fit-detectors", artifact, "--target-fpr", "0.02")
    up = project.json("up", "--artifact", artifact)
    assert (up["model"], up["version"]) == ("own", "1.1")
    report = project.json("screen-report", "--artifact", artifact, "--attacked", "20")
    assert report["digest"] == up["artifact_digest"]
    assert report["clean_images"] == len(digits.test)
    other = project.run("screen-report", "--artifact", artifact, "--data", "digits")
    assert other.returncode == 2
    assert "trained on other data" in other.stderr
