"""Training repeats under a seed, stops at a collapse or a broken loss, and records itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustness.attack import Attacked
from robustness.perturbation import distances
from robustness.pgd import PGD
from tests.conftest import quiet
from torchkeep.architectures import build
from torchkeep.artifact import MODEL, ModelArtifact
from torchkeep.data import Dataset, ImageSet, Splits
from torchkeep.errors import ArtifactError, SettingsError, TrainingError
from torchkeep.image_shape import ImageShape
from torchkeep.schema import TrainRecord, fields_of
from training.config import TrainConfig
from training.evaluation import recorded_attack
from training.fast_at import perturb
from training.loop import deterministic, overfitting_probe, train, triangular_rate
from training.overfitting_probe import OverfittingProbe
from training.recipes import RECIPES, digits_quick, recipe
from training.run import train_artifact

CPU = torch.device("cpu")
SHAPE = ImageShape(channels=1, height=8, width=8)


def short(**changes: object) -> TrainConfig:
    few = {"epochs": 2, "evaluation_images": 20, "evaluation_steps": 2, "evaluation_restarts": 1}
    return replace(digits_quick(), **(few | changes))  # type: ignore[arg-type]


def tensors(images: ImageSet, count: int = 400) -> tuple[Tensor, Tensor]:
    few = images.subset(range(min(count, len(images))))
    return torch.from_numpy(few.images).float() / 255, torch.from_numpy(few.labels)


def run(path: Path, dataset: Dataset, splits: Splits, config: TrainConfig) -> ModelArtifact:
    return train_artifact(dataset, splits, config, path, device=CPU, progress=quiet)


def test_the_same_seed_gives_the_same_weights(
    digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    one = run(tmp_path / "one", digits_dataset, digits, short())
    torch.manual_seed(2)
    two = run(tmp_path / "two", digits_dataset, digits, short())
    other = run(tmp_path / "other", digits_dataset, digits, short(seed=1))
    assert one.hashes[MODEL] == two.hashes[MODEL]
    assert one.hashes[MODEL] != other.hashes[MODEL]


def test_training_leaves_the_callers_random_state_alone(
    digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    run(tmp_path / "a", digits_dataset, digits, short(epochs=1))
    assert torch.equal(torch.rand(1), expected)
    assert not torch.are_deterministic_algorithms_enabled()


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


def test_adversarial_training_is_harder_to_fool_than_none(digits: Splits) -> None:
    images, labels = tensors(digits.train, 1000)
    held, held_labels = tensors(digits.test, 200)
    accuracies = []
    for step_size in (0.25, 1e-9):
        config = short(epochs=12, step_size=step_size)
        threat = config.threat_model if step_size > 0.1 else replace(config.threat_model, eps=1e-9)
        with deterministic(0) as generator:
            model = build("small_cnn", SHAPE, 10, {})
            probe = overfitting_probe(config, held, held_labels)
            setting = replace(config, threat_model=threat)
            train(model, images, labels, probe, setting, generator, quiet)
        accuracies.append(probe.measure(model))
    assert accuracies[0] > accuracies[1] + 0.1


@pytest.mark.parametrize("seed", range(3))
def test_one_step_stays_in_the_ball_and_raises_the_loss(digits: Splits, seed: int) -> None:
    images, labels = tensors(digits.train, 64)
    config = short()
    with deterministic(seed) as generator:
        model = build("small_cnn", SHAPE, 10, {})
        threat = config.threat_model
        moved = perturb(model, images, labels, threat, config.step_size, generator)
    assert distances(images, moved, threat.norm).max() <= threat.eps + 1e-6
    assert (moved.min() >= 0) & (moved.max() <= 1)
    loss = nn.functional.cross_entropy
    assert loss(model(moved), labels) > loss(model(images), labels)


class Collapsing(PGD):
    """A real attack whose reported success is forced to jump in one epoch."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Attacked:  # type: ignore[misc]
        measured.append(len(measured))
        fooled = torch.zeros(len(images), dtype=torch.bool)
        fooled[: [20, 2, 90, 0][measured[-1]]] = True
        return Attacked(images, fooled)


measured: list[int] = []


def test_a_collapse_ends_training_with_the_best_epochs_weights(digits: Splits) -> None:
    measured.clear()
    images, labels = tensors(digits.train, 200)
    config = short(epochs=4, collapse=0.2)
    attack = Collapsing(threat=config.threat_model, steps=1, step_size=0.1)
    probe = OverfittingProbe(attack=attack, images=images[:100], labels=labels[:100], collapse=0.2)
    with deterministic(0) as generator:
        model = build("small_cnn", SHAPE, 10, {})
        training = train(model, images, labels, probe, config, generator, quiet)
    assert training.collapsed_at == 3
    assert training.steps == 3 * 4
    assert [epoch.probe_accuracy for epoch in training.epochs] == pytest.approx([0.8, 0.98, 0.1])
    state = model.state_dict()
    assert all(torch.equal(value, probe.weights[name]) for name, value in state.items())


def test_a_loss_that_is_not_finite_is_an_error(digits: Splits) -> None:
    images, labels = tensors(digits.train, 100)
    images[7] = float("nan")
    config = short()
    with deterministic(0) as generator, pytest.raises(TrainingError, match="epoch 1"):
        probe = overfitting_probe(config, *tensors(digits.test, 10))
        model = build("small_cnn", SHAPE, 10, {})
        train(model, images, labels, probe, config, generator, quiet)


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [triangular_rate(step, 100, 2.0, 0.4) for step in range(101)]
    assert (rates[0], max(rates), rates[40], rates[100]) == (0, 2, 2, 0)
    assert np.all(np.diff(rates[:41]) > 0)
    assert np.all(np.diff(rates[40:]) < 0)


def test_every_recipe_names_its_source_and_builds() -> None:
    for name in RECIPES:
        config = recipe(name)
        assert config.recipe == name
        assert "20" in config.source
        shape = ImageShape(channels=3, height=32, width=32)
        build(config.architecture, shape, 10, config.options)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'mnist-quick'"):
        recipe("mnist-quik")


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"peak_learning_rate": 0.0}, {"peak_at": 1.0}, {"seed": -1}, {"collapse": 0.0}],
)
def test_numbers_that_make_no_training_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        short(**wrong)


def test_the_attack_of_the_evaluation_is_on_record(digits_artifact: ModelArtifact) -> None:
    attack, count = recorded_attack(digits_artifact.manifest)
    assert (attack.threat, count) == (digits_artifact.manifest.threat_model, 50)
    forgetful = replace(digits_artifact.manifest, train_record={})
    with pytest.raises(ArtifactError, match="was not evaluated"):
        recorded_attack(forgetful)
