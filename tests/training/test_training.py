"""Training repeats under a seed, stops at a collapse or a broken loss, and records itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustness.attack import Attack
from robustness.perturbation import distances
from tests.conftest import quiet
from torchkeep.architectures import build
from torchkeep.artifact import MODEL, ModelArtifact
from torchkeep.data import Dataset, ImageSet, Splits
from torchkeep.errors import ArtifactError, SettingsError, TrainingError
from torchkeep.image_shape import ImageShape
from torchkeep.schema import TrainRecord, fields_of
from torchkeep.threat_model import ThreatModel
from training.config import TrainConfig
from training.evaluation import recorded_attack
from training.fast_at import FastAttack
from training.loop import deterministic, overfitting_probe, train, triangular_rate, warm_up_share
from training.overfitting_probe import OverfittingProbe
from training.recipes import RECIPES, digits_quick, recipe
from training.run import train_artifact

CPU = torch.device("cpu")
SHAPE = ImageShape(channels=1, height=8, width=8)


def short(**changes: object) -> TrainConfig:
    few = {
        "epochs": 2,
        "warm_up": 0.0,
        "evaluation_images": 20,
        "evaluation_steps": 2,
        "evaluation_restarts": 1,
    }
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
        accuracies.append(probe.measure(model).pgd_accuracy)
    assert accuracies[0] > accuracies[1] + 0.1


@pytest.mark.parametrize(("seed", "steps"), [(0, 1), (1, 1), (2, 3)])
def test_the_attack_stays_in_the_ball_and_raises_the_loss(
    digits: Splits, seed: int, steps: int
) -> None:
    images, labels = tensors(digits.train, 64)
    config = short()
    with deterministic(seed) as generator:
        model = build("small_cnn", SHAPE, 10, {})
        threat = config.threat_model
        attack = FastAttack(threat=threat, step_size=config.step_size, steps=steps)
        moved = attack(model, images, labels, generator)
    assert distances(images, moved, threat.norm).max() <= threat.eps + 1e-6
    assert (moved.min() >= 0) & (moved.max() <= 1)
    loss = nn.functional.cross_entropy
    assert loss(model(moved), labels) > loss(model(images), labels)


@dataclass
class Scripted(Attack):
    """Reports, epoch by epoch, the accuracies it was given."""

    threat: ThreatModel
    accuracies: list[float]

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        accuracy = self.accuracies.pop(0)
        model.fooled = accuracy  # type: ignore[assignment]
        return images


class Obedient(nn.Module):
    """A trainable model that is right as often as the scripted attack wants, when evaluated."""

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.net = build("small_cnn", SHAPE, 10, {})
        self.labels = labels
        self.fooled = 1.0

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            logits: Tensor = self.net(images)
            return logits
        right = torch.arange(len(images)) < self.fooled * len(images)
        return nn.functional.one_hot((self.labels + ~right) % 10, 10).float()


def test_a_collapse_goes_back_to_the_best_weights_and_takes_one_attack_step_more(
    digits: Splits,
) -> None:
    images, labels = tensors(digits.train, 100)
    config = short(epochs=4)
    threat = config.threat_model
    with deterministic(0) as generator:
        model = Obedient(labels)
        probe = OverfittingProbe(
            one_step=Scripted(threat, [0.9, 0.7, 0.6, 0.7]),
            pgd=Scripted(threat, [0.4, 0.1, 0.5, 0.6]),
            images=images,
            labels=labels,
            fall=0.2,
            gap=0.65,
        )
        after: list[dict[str, Tensor]] = []

        def note(step: str, done: int, total: int) -> None:
            if done == 2 * total // 4 + 1:  # the first step after the collapse
                after.append({**probe.weights})

        training = train(model, images, labels, probe, config, generator, note)
    assert training.collapsed_in == (2,)
    assert [epoch.attack_steps for epoch in training.epochs] == [1, 1, 2, 2]
    assert [epoch.pgd_accuracy for epoch in training.epochs] == pytest.approx([0.4, 0.1, 0.5, 0.6])
    assert training.steps == 4 * 2
    final = model.state_dict()
    assert all(torch.equal(final[name], probe.weights[name]) for name in final)
    assert not torch.equal(after[0]["net.head.weight"], final["net.head.weight"])


def test_a_collapse_from_the_start_goes_on_with_more_steps(digits: Splits) -> None:
    images, labels = tensors(digits.train, 100)
    config = short(epochs=2)
    with deterministic(0) as generator:
        model = Obedient(labels)
        probe = OverfittingProbe(
            one_step=Scripted(config.threat_model, [0.9, 0.8]),
            pgd=Scripted(config.threat_model, [0.0, 0.3]),
            images=images,
            labels=labels,
            fall=0.2,
            gap=0.65,
        )
        training = train(model, images, labels, probe, config, generator, quiet)
    assert training.collapsed_in == (1,)
    assert [epoch.attack_steps for epoch in training.epochs] == [1, 2]
    assert probe.best == pytest.approx(0.3)


def test_a_collapse_in_the_last_epoch_leaves_the_best_weights(digits: Splits) -> None:
    images, labels = tensors(digits.train, 100)
    config = short(epochs=2)
    with deterministic(0) as generator:
        model = Obedient(labels)
        probe = OverfittingProbe(
            one_step=Scripted(config.threat_model, [0.5, 0.9]),
            pgd=Scripted(config.threat_model, [0.4, 0.0]),
            images=images,
            labels=labels,
            fall=0.2,
            gap=0.65,
        )
        seen: list[Tensor] = []

        def note(step: str, done: int, total: int) -> None:
            if done == total // 2 + 1:
                seen.append(probe.weights["net.head.weight"].clone())

        train(model, images, labels, probe, config, generator, note)
    assert torch.equal(model.state_dict()["net.head.weight"], seen[0])


def test_a_loss_that_is_not_finite_is_an_error(digits: Splits) -> None:
    images, labels = tensors(digits.train, 100)
    images[7] = float("nan")
    config = short()
    probe = overfitting_probe(config, *tensors(digits.test, 10))
    with deterministic(0) as generator:
        model = build("small_cnn", SHAPE, 10, {})
        with pytest.raises(TrainingError, match="epoch 1"):
            train(model, images, labels, probe, config, generator, quiet)


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [triangular_rate(step, 100, 2.0, 0.4) for step in range(101)]
    assert (rates[0], max(rates), rates[40], rates[100]) == (0, 2, 2, 0)
    assert np.all(np.diff(rates[:41]) > 0)
    assert np.all(np.diff(rates[40:]) < 0)


def test_the_radius_grows_to_its_full_size() -> None:
    shares = [warm_up_share(step, 100, 0.25) for step in range(1, 101)]
    assert shares[0] == pytest.approx(0.04)
    assert shares[24:] == [1.0] * 76
    assert warm_up_share(1, 100, 0.0) == 1
    config = short()
    half = FastAttack(threat=config.threat_model, step_size=0.2, steps=1).scaled(0.5)
    assert (half.threat.eps, half.step_size) == (config.threat_model.eps / 2, 0.1)


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
    [
        {"epochs": 0},
        {"peak_learning_rate": 0.0},
        {"peak_at": 1.0},
        {"seed": -1},
        {"collapse_gap": 0.0},
    ],
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
