"""From data to artifact: what is recorded, evaluated, and refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import quiet
from tests.training.conftest import CPU, short
from torchkeep.artifact import MODEL, ModelArtifact
from torchkeep.data import Dataset, Splits
from torchkeep.errors import ArtifactError
from torchkeep.schema import TrainRecord, fields_of
from training.config import TrainConfig
from training.evaluation import evaluation_attack, recorded_attack
from training.run import train_artifact


def run(path: Path, dataset: Dataset, splits: Splits, config: TrainConfig) -> ModelArtifact:
    return train_artifact(dataset, splits, config, path, device=CPU, progress=quiet)


def test_the_record_has_every_field_and_tells_the_data(
    digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    artifact = run(tmp_path / "a", digits_dataset, digits, short())
    record = artifact.manifest.train_record
    assert set(record) == {field.name for field in fields_of(TrainRecord)}
    assert record["rows"] == len(digits.train)
    assert sum(record["targets"].values()) == len(digits.train)
    assert record["dataset"]["digest"] == digits_dataset.digest
    assert len(record["epochs"]) == 2
    pixels = digits.train.images / 255
    assert record["features"]["mean"] == pytest.approx([pixels.mean()])
    assert record["features"]["std"] == pytest.approx([pixels.std()])
    assert sum(record["features"]["histogram"]) == pixels.size
    assert record["features"]["histogram"][15] == (digits.train.images >= 240).sum()
    assert record["config"]["objective"]["kind"] == "fast_at"
    assert record["images_per_s"] > 0
    assert 0 <= record["loading_share"] < 1
    assert (record["world_size"], record["resumed"], record["parent_version"]) == (1, 0, None)


def test_adversarial_training_is_harder_to_fool_than_none(
    digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    accuracies = [
        run(
            tmp_path / name,
            digits_dataset,
            digits,
            short(name, epochs=12, evaluation_images=150, evaluation_steps=20),
        ).manifest.metrics["pgd_accuracy"]
        for name in ("digits-natural", "digits-quick")
    ]
    assert accuracies[1] > accuracies[0] + 0.2


def test_certified_training_says_what_it_proves(
    digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    config = short("digits-ibp", epochs=20, evaluation_images=100, evaluation_steps=20)
    metrics = run(tmp_path / "a", digits_dataset, digits, config).manifest.metrics
    assert 0.5 < metrics["certified_accuracy"] <= metrics["pgd_accuracy"] + 0.05
    natural = run(tmp_path / "b", digits_dataset, digits, short("digits-natural"))
    assert "certified_accuracy" not in natural.manifest.metrics


def test_a_child_starts_from_its_parents_weights_and_names_its_version(
    digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    parent = run(tmp_path / "a", digits_dataset, digits, short("digits-natural"))
    config = short("digits-natural", epochs=1)
    config = replace(config, optimisation=replace(config.optimisation, peak_learning_rate=1e-12))
    child = train_artifact(
        digits_dataset,
        digits,
        config,
        tmp_path / "b",
        device=CPU,
        progress=quiet,
        version="1.1",
        parent=parent,
    )
    assert child.manifest.train_record["parent_version"] == "1.0"
    old, new = parent.tensors(MODEL), child.tensors(MODEL)
    assert all(torch.allclose(old[name], new[name], atol=1e-8) for name in old)


@pytest.mark.parametrize(
    ("changes", "version", "told"),
    [({"name": "no name"}, "1.0", "no model name"), ({}, "one", "no version")],
)
def test_what_cannot_be_written_is_refused_before_the_training(
    digits_dataset: Dataset,
    digits: Splits,
    tmp_path: Path,
    changes: dict[str, str],
    version: str,
    told: str,
) -> None:
    def never(step: str, done: int, total: int) -> None:
        raise AssertionError("it trains")

    with pytest.raises(ArtifactError, match=told):
        train_artifact(
            digits_dataset,
            digits,
            replace(short(), **changes),
            tmp_path / "a",
            device=CPU,
            progress=never,
            version=version,
        )


@pytest.mark.parametrize(("steps", "size"), [(40, 0.2 / 30), (100, 0.2 / 30), (10, 0.2 * 4 / 30)])
def test_an_attack_of_few_steps_takes_longer_ones(steps: int, size: float) -> None:
    attack = evaluation_attack(short(evaluation_steps=steps))
    assert attack.step_size == pytest.approx(size)


def test_the_attack_of_the_evaluation_is_on_record(digits_artifact: ModelArtifact) -> None:
    attack, count = recorded_attack(digits_artifact.manifest)
    assert (attack.threat, count) == (digits_artifact.manifest.threat_model, 50)
    forgetful = replace(digits_artifact.manifest, train_record={})
    with pytest.raises(ArtifactError, match="was not evaluated"):
        recorded_attack(forgetful)
