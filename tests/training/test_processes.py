"""Two processes that train together: killed, resumed, restarted, starved, and told no."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.processes import Processes, kill_all, workers
from torchkeep.artifact import MODEL, ModelArtifact

SHORT = ("--recipe", "digits-trades", "--epochs", "12", "--checkpoint-steps", "10")
STATE = ".torchkeep/runs/digits-1.0/checkpoint/state.json"


@pytest.fixture
def training(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


def weights(training: Processes, name: str = "digits-1.0") -> str:
    return ModelArtifact.load(training.folder / ".torchkeep" / "artifacts" / name).hashes[MODEL]


def record(training: Processes, name: str = "digits-1.0") -> dict[str, Any]:
    artifact = ModelArtifact.load(training.folder / ".torchkeep" / "artifacts" / name)
    return dict(artifact.manifest.train_record)


def slowed(training: Processes) -> None:
    """Make each step take a while, so that a signal meets a training in its middle."""
    training.folder.joinpath("sitecustomize.py").write_text(
        "import os, time\n"
        "if os.environ.get('RANK'):\n"
        "    import training.learner\n"
        "    step = training.learner.Learner.step\n"
        "    def slow(*arguments):\n"
        "        time.sleep(0.02)\n"
        "        return step(*arguments)\n"
        "    training.learner.Learner.step = slow\n"
    )
    training.variables["PYTHONPATH"] = str(training.folder)


def test_a_killed_training_of_two_processes_goes_on_to_the_same_weights(
    training: Processes,
) -> None:
    slowed(training)
    process = training.start(*SHORT, processes=2)
    state = training.wait_for(STATE, process)
    kill_all(process)
    assert 0 < json.loads(state.read_bytes())["standing"]["step"] < 12 * 15
    assert not (training.folder / ".torchkeep" / "artifacts").exists()
    resumed = training.run(*SHORT, processes=2)
    assert resumed.returncode == 0, resumed.stderr
    assert "train 1/" not in resumed.stderr
    unbroken = training.run(*SHORT, "--version", "2.0", processes=2)
    assert unbroken.returncode == 0, unbroken.stderr
    assert weights(training) == weights(training, "digits-2.0")
    broken, whole = record(training), record(training, "digits-2.0")
    assert (broken["resumed"], whole["resumed"]) == (1, 0)
    assert broken["world_size"] == whole["world_size"] == 2
    assert broken["epochs"] == whole["epochs"]
    assert broken["metrics"] == whole["metrics"]
    assert not state.exists()


def test_a_dead_process_ends_the_others_with_exit_code_3_and_a_message(
    training: Processes,
) -> None:
    slowed(training)
    process = training.start(*SHORT, processes=2)
    training.wait_for(STATE, process)
    leader, other = workers(process.pid)
    other.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) != 0
    assert not leader.is_running()
    said = training.said
    assert "Signal 9 (SIGKILL)" in said, said
    if "error: process 0" in said:  # unless torchrun saw the death first, and ended the leader
        assert "exitcode  : 3 " in said, said
    assert "Traceback" not in said.partition("ChildFailedError")[0].partition("error: process")[0]


def test_the_launcher_says_which_process_died_and_exits_with_3(training: Processes) -> None:
    slowed(training)
    process = training.start(*SHORT, "--processes", "2")
    training.wait_for(STATE, process)
    workers(process.pid)[1].send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == 3
    assert "process 1 of this training died (SIGKILL). Run the same command" in training.said
    done = training.run(*SHORT, "--processes", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["train_record"]["resumed"] == 1


def test_a_training_restarted_after_a_death_ends_as_one_that_never_died(
    training: Processes,
) -> None:
    slowed(training)
    process = training.start(*SHORT, "--processes", "2", "--restarts", "2", "--fresh")
    training.wait_for(STATE, process)
    workers(process.pid)[1].send_signal(signal.SIGKILL)
    assert process.wait(timeout=120) == 0, training.said
    assert "died (SIGKILL); starting all again, time 1 of 2" in training.said
    assert record(training)["resumed"] == 1
    training.run(*SHORT, "--version", "2.0", processes=2)
    assert weights(training) == weights(training, "digits-2.0")


def test_a_pause_is_no_reason_to_start_again(training: Processes) -> None:
    words = ("--processes", "2", "--restarts", "3", "--max-minutes", "0")
    done = training.run(*SHORT, *words)
    assert done.returncode == 4
    assert done.stderr.count("time is up at step 20 of") == done.stderr.count("error:") == 1


def test_what_only_one_process_knows_is_told(training: Processes) -> None:
    training.variables |= {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    done = training.run(*SHORT, "--device", "cuba")
    assert done.returncode == 2
    assert "no device 'cuba'" in done.stderr


def poisoned_step(training: Processes) -> None:
    """Give one process, at one step, a batch that is not a number."""
    training.folder.joinpath("sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('RANK') == '1':\n"
        "    import training.learner\n"
        "    learn = training.learner.Learner._learn\n"
        "    def broken(self, images, labels, moment):\n"
        "        factor = float('nan') if moment.done > 0.3 else 1.0\n"
        "        return learn(self, images.float() * factor, labels, moment)\n"
        "    training.learner.Learner._learn = broken\n"
    )
    training.variables["PYTHONPATH"] = str(training.folder)


def test_a_loss_that_is_not_finite_ends_both_with_one_line_and_exit_code_3(
    training: Processes,
) -> None:
    poisoned_step(training)
    done = training.run(*SHORT, "--processes", "2")
    assert done.returncode == 3
    assert done.stderr.count("error:") == 1
    assert "the loss is not finite in epoch 4, by step 60" in done.stderr
    state = json.loads((training.folder / STATE).read_bytes())
    assert state["standing"]["step"] == 50  # the last good one is intact
    assert np.isfinite(state["standing"]["epoch_loss"])


def test_one_process_and_two_learn_the_same_from_the_same_batches(training: Processes) -> None:
    words = ("--recipe", "digits-natural", "--epochs", "2")
    assert training.run(*words).returncode == 0
    assert training.run(*words, "--version", "2.0", processes=2).returncode == 0
    alone, beside = record(training), record(training, "digits-2.0")
    losses = [[epoch["loss"] for epoch in each["epochs"]] for each in (alone, beside)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert beside["rows"] == alone["rows"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--batch-size", "51"), "multiple of 2"),
        (("--eps", "1.5"), "more than a pixel's whole range"),
    ],
)
def test_what_does_not_fit_is_one_line_and_exit_code_2_from_both(
    training: Processes, words: tuple[str, ...], told: str
) -> None:
    done = training.run("--recipe", "digits-quick", *words, "--processes", "2")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "reading" not in line]
    assert line.startswith("error: ")
    assert told in line
