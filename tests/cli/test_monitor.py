"""Monitoring a real server: traffic that drifts is found out, other traffic is left alone."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from tests.cli.project import Project
from tests.conftest import quiet
from tests.gateway.served import Served, serving
from torchkeep.artifact import ModelArtifact
from torchkeep.cli.main import command
from torchkeep.client import Client
from torchkeep.data import Splits
from torchkeep.errors import UserError
from training.reference import with_reference

pytestmark = pytest.mark.torchserve

ALL_LOGGED = {"TORCHKEEP_REQUEST_LOG_SAMPLE_INPUTS": "1"}


@dataclass(frozen=True, slots=True)
class Watched:
    """A running server, and the command as its user types it; in this process, to save time."""

    served: Served

    def run(self, *words: str, expect: int = 0) -> str:
        """Run the command; return what it printed."""
        done = self.invoke(*words)
        assert done.exit_code == expect, (done.exit_code, done.output, done.exception)
        return done.stdout

    def refused(self, *words: str) -> str:
        """Run the command; return what it says to the mistake."""
        error = self.invoke(*words).exception
        assert isinstance(error, UserError)
        assert error.exit_code == 2
        return str(error)

    def invoke(self, *words: str) -> Result:
        home = str(self.served.home.root)
        return CliRunner().invoke(command(), words, env={"TORCHKEEP_HOME": home})

    def monitor(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """Run `torchkeep monitor` on the artifact that is served."""
        told: dict[str, Any] = json.loads(self.run(*self.words(*words), "--json", expect=expect))
        return told

    def words(self, *words: str) -> tuple[str, ...]:
        return ("monitor", "--artifact", str(self.served.artifact.path), *words)


@pytest.fixture(scope="module")
def watched(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    copytree(digits_artifact.path, folder / "digits-1.0")
    copy = ModelArtifact.load(folder / "digits-1.0")
    artifact = with_reference(copy, digits, torch.device("cpu"), quiet)
    with serving(artifact, folder, ALL_LOGGED) as served:
        yield Watched(served)


def test_a_simulated_shift_is_detected_as_a_user_runs_it(watched: Watched) -> None:
    words = ("monitor", "--simulate", "brightness")  # of what is served, wherever it came from
    home = str(watched.served.home.root)
    done = Project(watched.served.home.root).run(*words, TORCHKEEP_HOME=home)
    assert done.returncode == 0, done.stderr
    assert "something is wrong: drift" in done.stdout
    assert "simulated brightness with 200 requests: detected, as it should be" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shift", ["noise", "class"])
def test_a_simulated_shift_is_detected(watched: Watched, shift: str) -> None:
    told = watched.monitor("--simulate", shift)
    assert told["simulated"]["detected"]
    assert told["simulated"]["requests"] == told["log"]["items"] == 200
    assert told["drift"]["outcome"] == "drift" or told["sequential"]["alarms"]


def test_a_simulation_of_nothing_is_quiet(watched: Watched) -> None:
    told = watched.monitor("--simulate", "none")
    assert not told["simulated"]["detected"]
    assert told["drift"]["outcome"] == "quiet"
    assert told["sequential"]["alarms"] == []


def test_a_simulation_is_no_traffic_of_users(watched: Watched) -> None:
    sent = watched.monitor("--simulate", "brightness", "-n", "60")["simulated"]
    state = watched.served.home.root / "monitoring"
    assert not state.exists() or list(state.iterdir()) == []
    nothing = watched.refused(*watched.words())
    assert re.search(r"no records of digits in that span; \d+ of our own are left out", nothing)
    again = watched.monitor("--correlation-id", sent["correlation_id"], expect=5)
    assert again["log"]["items"] == 60


def test_a_shift_that_is_missed_is_exit_code_5(watched: Watched) -> None:
    told = watched.monitor("--simulate", "noise", "-n", "3", expect=5)
    assert told["simulated"] | {"correlation_id": ""} == {
        "shift": "noise",
        "correlation_id": "",
        "requests": 3,
        "detected": False,
        "as_expected": False,
    }
    assert told["drift"]["outcome"] == "too_few_rows"


def test_a_logged_request_is_replayed_through_server_and_artifact(
    watched: Watched, digits: Splits
) -> None:
    served = watched.served
    with Client(served.running.rest, model="digits", token=served.key) as client:
        client.predict(digits.test.images[:3], request_id="three")
    words = ("logs", "replay", "three", "--directory", str(served.log), "--json")
    again = json.loads(watched.run(*words))["items"]
    assert [one["item"] for one in again] == [0, 1, 2]
    assert all(one["same_artifact"] and one["same_answer"] for one in again)
    assert all(one["first_difference"] is None for one in again)
    here = json.loads(watched.run(*words, "--artifact", str(served.artifact.path), "--item", "1"))
    assert [one["item"] for one in here["items"]] == [1]
    assert here["items"][0]["first_difference"] is None
    steps = {step["name"]: step for step in here["items"][0]["steps"]}
    assert steps["pixels"]["distance"] == 0
    assert {"embedding", "probabilities", "score", "verdict"} <= steps.keys()
    text = watched.run(*words[:-1])
    assert "nothing differs beyond noise" in text
    absent = watched.refused("logs", "replay", "nobody", "--directory", str(served.log))
    assert "no record of request 'nobody'" in absent


def test_users_whose_images_turn_dark_are_noticed(watched: Watched, digits: Splits) -> None:
    served = watched.served
    dark = (digits.test.images[:150] * 0.6).astype(np.uint8)
    with Client(served.running.grpc, model="digits", token=served.key) as client:
        for number, image in enumerate(digits.test.images[150:250]):
            client.predict(image, request_id=f"usual-{number}")
        before = watched.monitor()
        for number, image in enumerate(dark):
            client.predict(image, request_id=f"dark-{number}")
    assert before["drift"]["outcome"] == "quiet"
    assert before["sequential"]["followed"]
    told = watched.monitor(expect=5)
    assert told["headline"].startswith("something is wrong")
    assert told["log"]["own_traffic"] > 0
    alarms = told["sequential"]["alarms"]
    assert len(alarms) == 1
    assert alarms[0]["request_id"].startswith("dark-")
    again = watched.monitor(expect=5)
    assert again["sequential"]["alarms"] == alarms
    assert again["sequential"]["new"] == []
    assert again["sequential"]["counts"]["judged"] == told["sequential"]["counts"]["judged"]
    watched.monitor("--fail-on", "alert")
    watched.monitor("--fail-on", "nothing")


def test_a_damaged_history_is_told_and_the_look_goes_on(watched: Watched, digits: Splits) -> None:
    with Client(watched.served.running.rest, model="digits", token=watched.served.key) as client:
        client.predict(digits.test.images[0])
    state = watched.served.home.root / "monitoring"
    state.mkdir(mode=0o700, exist_ok=True)
    damaged = state / "quarantined.json"
    damaged.write_text("{")
    done = watched.invoke(*watched.words("--json", "--fail-on", "nothing"))
    damaged.unlink()
    assert done.exit_code == 0, done.output
    assert "quarantined.json" in done.stderr
    assert json.loads(done.stdout)["log"]["items"] >= 1


def test_following_goes_on_until_ctrl_c(watched: Watched) -> None:
    home = watched.served.home.root
    project = Project(home)
    process = subprocess.Popen(
        project.command(*watched.words("--follow", "1", "--json")),
        cwd=home,
        env=project.environment | {"TORCHKEEP_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert looks[0]["headline"] == looks[1]["headline"]
    assert looks[0]["examined_at_ns"] < looks[1]["examined_at_ns"]


def test_the_report_is_one_page_and_follows_what_monitor_says(
    watched: Watched, digits: Splits, tmp_path: Path
) -> None:
    dark = (digits.test.images[:250] * 0.6).astype(np.uint8)
    with Client(watched.served.running.rest, model="digits", token=watched.served.key) as client:
        for image in dark:
            client.predict(image)
    page = tmp_path / "report.html"
    words = ("report", "--artifact", str(watched.served.artifact.path), "-o", str(page))
    said = watched.run(*words)
    assert said.startswith("something is wrong")
    text = page.read_text(encoding="utf-8")
    assert "Something is wrong: drift" in text
    assert "<script" not in text
    assert "cannot be written" in watched.refused(*words[:-1], str(tmp_path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--since", "yesterday"], "is no time"),
        (["--correlation-id", "a b"], "is no id"),
        (["--version", "7.0"], "not 7.0"),
        (["--simulate", "none", "--follow", "5"], "alone"),
        (["--follow", "5", "--fail-on", "drift"], "Leave out one of them"),
        (["--since", "1h", "--until", "2h"], "is not before"),
    ],
)
def test_wrong_options_are_refused(watched: Watched, words: list[str], message: str) -> None:
    assert message in watched.refused(*watched.words(*words))
