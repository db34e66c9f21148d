"""An order carried out: scanned or told, cleaned, archived, logged; resumed, paused, refused."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import quiet
from torchkeep.artifact import ModelArtifact
from torchkeep.data import CleanedIndex, TrainingSets
from torchkeep.errors import ArtifactError, DataError, SettingsError, TrainingPausedError
from torchkeep.paths import Home
from training.order import Order
from training.session import carry_out_alone
from training.train_log import train_log


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path / "home"))
    return Home.default()


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """Two classes that a network can tell apart, as .npz."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    images = generator.integers(0, 120, (400, 1, 8, 8)) + 100 * labels[:, None, None, None]
    path = tmp_path / "own.npz"
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return path


def order(**changes: object) -> Order:
    short = {"recipe": "digits-natural", "epochs": 1}
    return Order(**(short | changes))  # type: ignore[arg-type]


def test_data_of_others_is_refused_until_scanned_or_told(home: Home, own_data: Path) -> None:
    third_party = order(data=str(own_data), name="own")
    with pytest.raises(DataError, match=r"not scanned.*scan-poison.*--unscanned"):
        carry_out_alone(third_party, home, quiet)
    assert not home.runs.exists()
    told = order(data=str(own_data), name="own", unscanned=True)
    assert carry_out_alone(told, home, quiet).manifest.classes == ("0", "1")


def test_images_left_out_are_not_trained_on_and_are_on_record(
    home: Home, own_data: Path, tmp_path: Path
) -> None:
    told = order(data=str(own_data), name="own", unscanned=True)
    whole = carry_out_alone(told, home, quiet).manifest.train_record
    images = whole["dataset"]["splits"]["counts"]
    total = sum(images.values()) - images["test"]
    index = CleanedIndex(whole["dataset"]["digest"], total, (1, 5, 9))
    index.write(tmp_path / "index.json")
    cleaned = order(data=str(own_data), name="own", version="1.1", index=tmp_path / "index.json")
    with pytest.raises(DataError, match="not scanned"):  # an index of one's own is no scan
        carry_out_alone(cleaned, home, quiet)
    artifact = carry_out_alone(replace(cleaned, unscanned=True), home, quiet)
    record = artifact.manifest.train_record["dataset"]
    counts = record["splits"]["counts"]
    assert sum(counts.values()) - counts["test"] == total - 3
    assert record["cleaned"]["dropped"] == [1, 5, 9]
    assert record["digest"] != whole["dataset"]["digest"]


def test_a_training_is_archived_and_logged(home: Home) -> None:
    artifact = carry_out_alone(order(), home, quiet)
    sets = TrainingSets.of(home)
    kept = sets.load("digits", sets.find("digits", "1.0"))
    assert len(kept.indices) == artifact.manifest.train_record["rows"]
    carry_out_alone(order(version="1.1", seed=2), home, quiet)
    lines = [json.loads(line) for line in train_log(home).read_text().splitlines()]
    assert [line["model_version"] for line in lines] == ["1.0", "1.1"]
    assert lines[0]["artifact_digest"] == artifact.digest
    assert (home.runs / "digits-1.0" / "curves.svg").read_text().startswith("<")
    assert [path.name for path in (home.runs / "digits-1.0").iterdir()] == ["curves.svg"]


def test_time_that_is_up_is_exit_code_4_and_the_same_order_goes_on(home: Home) -> None:
    short = order(epochs=2, max_minutes=0.0)
    with pytest.raises(TrainingPausedError, match="same command"):
        carry_out_alone(short, home, quiet)
    assert not home.artifacts.exists()
    steps: list[int] = []

    def note(step: str, done: int, total: int) -> None:
        if step == "train":
            steps.append(done)

    carry_out_alone(order(epochs=2), home, note)
    assert steps[0] == 2
    assert carry_out_alone(order(epochs=2, max_minutes=9.0), home, quiet)


def test_fresh_forgets_the_checkpoint_and_another_recipe_needs_it(home: Home) -> None:
    with pytest.raises(TrainingPausedError):
        carry_out_alone(order(epochs=2, max_minutes=0.0), home, quiet)
    with pytest.raises(ArtifactError, match=r"recipe digits-natural.*digits-augmix.*--fresh"):
        carry_out_alone(order(recipe="digits-augmix", epochs=2), home, quiet)
    with pytest.raises(ArtifactError, match="configuration"):
        carry_out_alone(order(epochs=3), home, quiet)
    artifact = carry_out_alone(order(epochs=3, fresh=True), home, quiet)
    assert artifact.manifest.train_record["resumed"] == 0


def test_a_cut_off_checkpoint_is_told(home: Home) -> None:
    with pytest.raises(TrainingPausedError):
        carry_out_alone(order(epochs=2, max_minutes=0.0), home, quiet)
    weights = home.runs / "digits-1.0" / "checkpoint" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be gone on from"):
        carry_out_alone(order(epochs=2), home, quiet)


def test_a_cut_off_shard_of_the_data_is_told(home: Home, tmp_path: Path) -> None:
    shards = tmp_path / "cifar"
    shards.mkdir()
    row = struct.pack("B", 1) + bytes(3072)
    for number in range(1, 6):
        (shards / f"data_batch_{number}.bin").write_bytes(row * 3)
    (shards / "test_batch.bin").write_bytes((row * 3)[:-7])
    with pytest.raises(DataError, match=r"test_batch\.bin"):
        carry_out_alone(order(data=str(shards), unscanned=True), home, quiet)


def test_a_parent_of_another_architecture_is_told(
    home: Home, digits_artifact: ModelArtifact
) -> None:
    child = order(recipe="digits-ibp", parent=digits_artifact.path, version="1.1")
    assert carry_out_alone(child, home, quiet).manifest.train_record["parent_version"] == "1.0"
    with pytest.raises(ArtifactError, match="No such file"):
        carry_out_alone(order(parent=home.root / "nothing"), home, quiet)


@pytest.mark.parametrize("device", ["cuba", "meta", "mps"])
def test_a_device_that_is_not_there_is_told(home: Home, device: str) -> None:
    with pytest.raises(SettingsError, match="no device"):
        carry_out_alone(order(device=device), home, quiet)


@pytest.mark.parametrize("minutes", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_told(minutes: float) -> None:
    with pytest.raises(SettingsError, match="max-minutes"):
        order(max_minutes=minutes)


def test_what_a_kill_in_a_checkpoint_left_is_swept_away(home: Home) -> None:
    with pytest.raises(TrainingPausedError):
        carry_out_alone(order(epochs=2, max_minutes=0.0), home, quiet)
    run = home.runs / "digits-1.0"
    (run / ".checkpoint.half").mkdir()
    (run / ".checkpoint.half" / "model.safetensors").write_bytes(b"half")
    (run / "checkpoint").rename(run / ".checkpoint.replaced")
    artifact = carry_out_alone(order(epochs=2), home, quiet)
    assert artifact.manifest.train_record["resumed"] == 1
    assert [path.name for path in run.iterdir()] == ["curves.svg"]
