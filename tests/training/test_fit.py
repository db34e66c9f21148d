"""The same seed gives the same weights, whole or broken off; every way of training does learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import quiet
from tests.training.conftest import CPU, SHAPE, Fit, few, short
from torchkeep.architectures import Classifier, build, register
from torchkeep.data import ImageSet, Splits
from torchkeep.errors import ArtifactError, DataError, SettingsError, TrainingPausedError
from torchkeep.image_shape import ImageShape
from training.config import Execution, Optimisation, Optimizer, Precision, TrainConfig
from training.distributed import alone
from training.fit import Fitted, fit
from training.recipes import METHODS
from training.run_folder import RunFolder


def same(one: Fitted, two: Fitted) -> bool:
    left, right = one.model.state_dict(), two.model.state_dict()
    return all(torch.equal(left[name], right[name]) for name in left)


def test_the_same_seed_gives_the_same_weights(fit_few: Fit) -> None:
    torch.manual_seed(1)
    one = fit_few(short())
    torch.manual_seed(2)
    two = fit_few(short())
    assert same(one, two)
    assert not same(one, fit_few(short(seed=1)))


def test_training_leaves_the_callers_random_state_alone(fit_few: Fit) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    fit_few(short(epochs=1))
    assert torch.equal(torch.rand(1), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def folder_at(path: Path, config: TrainConfig, limit_s: float | None = None) -> RunFolder:
    identity = {"architecture": config.architecture, "configuration": config.digest()}
    return RunFolder(path=path, identity=identity, world=alone(CPU), limit_s=limit_s)


@register("with_dropout")
def with_dropout(shape: ImageShape, classes: int) -> Classifier:
    pixels = shape.channels * shape.height * shape.width
    features = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 32), nn.ReLU(), nn.Dropout(0.3))
    return Classifier(features, nn.Linear(32, classes))


SGD = Optimisation(
    optimizer=Optimizer.SGD,
    peak_learning_rate=0.05,
    averaging=0.9,
    weight_perturbation=0.01,
    weight_decay=1e-4,
)


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("digits-quick", {}),
        ("digits-pgd", {}),
        ("digits-trades", {"optimisation": SGD, "execution": Execution(accumulate=2)}),
        ("digits-augmix", {"options": {"width": 4}}),
        ("digits-natural", {"architecture": "resnet18", "options": {"width": 4}}),
        ("digits-natural", {"architecture": "with_dropout"}),
    ],
)
def test_a_training_broken_off_after_each_checkpoint_ends_as_a_whole_one(
    fit_few: Fit, tmp_path: Path, recipe: str, changes: dict[str, Any]
) -> None:
    config = short(recipe, epochs=15, batch_size=100, **changes)
    config = replace(config, execution=replace(config.execution, checkpoint_steps=7))
    whole = fit_few(config)
    folder = folder_at(tmp_path / "run", config, limit_s=0.0)
    with pytest.raises(TrainingPausedError, match="time is up at step 1 of 30") as paused:
        fit_few(config, folder)
    assert paused.value.exit_code == 4
    with pytest.raises(TrainingPausedError, match="time is up at step 2 of 30"):
        fit_few(config, folder)
    folder.limit_s = None
    broken = fit_few(config, folder)
    assert same(whole, broken)
    assert broken.training.epochs == whole.training.epochs
    assert broken.training.resumed == 2


def test_a_checkpoint_of_another_architecture_is_refused(fit_few: Fit, tmp_path: Path) -> None:
    config = short("digits-natural", epochs=20, batch_size=100)
    with pytest.raises(TrainingPausedError):
        fit_few(config, folder_at(tmp_path, config, limit_s=0.0))
    before = (tmp_path / "checkpoint" / "state.json").read_bytes()
    other = replace(config, architecture="resnet18", options={"width": 4})
    with pytest.raises(ArtifactError, match=r"architecture small_cnn.*resnet18.*--fresh"):
        fit_few(other, folder_at(tmp_path, other))
    wider = replace(config, options={"width": 4})
    unchecked = RunFolder(path=tmp_path, identity={}, world=alone(CPU))
    with pytest.raises(ArtifactError, match="does not fit this training"):
        fit_few(wider, unchecked)
    assert (tmp_path / "checkpoint" / "state.json").read_bytes() == before


def test_two_trainings_of_one_name_do_not_run_at_once(tmp_path: Path) -> None:
    config = short()
    with (
        folder_at(tmp_path / "run", config).held(),
        pytest.raises(SettingsError, match="another training runs"),
        folder_at(tmp_path / "run", config).held(),
    ):
        pass
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns(digits: Splits, method: str) -> None:
    config = short(f"digits-{method}", epochs=12)
    if config.objective.kind in ("pgd_at", "trades"):
        config = replace(config, objective=replace(config.objective, steps=3))  # type: ignore[call-arg]
    fitted = fit(config, SHAPE, 10, digits.train, digits.validation, device=CPU, progress=quiet)
    losses = [epoch.loss for epoch in fitted.training.epochs]
    assert fitted.training.epochs[-1].accuracies["clean_accuracy"] > 0.8
    assert fitted.training.steps == 12 * (len(digits.train) // 50)
    assert not fitted.model.training
    if config.objective.warm_from() == 0:
        assert losses[-1] < losses[0]


def test_pieces_of_a_batch_add_up_to_the_whole(fit_few: Fit) -> None:
    whole = fit_few(short("digits-natural"))
    pieces = fit_few(short("digits-natural", execution=Execution(accumulate=5)))
    for one, two in zip(whole.model.parameters(), pieces.model.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-4)


@pytest.mark.parametrize(
    "execution",
    [
        Execution(precision=Precision.BFLOAT16),
        Execution(channels_last=True),
        Execution(resident_bytes=0),
    ],
)
def test_the_machine_may_do_it_otherwise(fit_few: Fit, execution: Execution) -> None:
    plain = fit_few(short("digits-natural", epochs=4))
    other = fit_few(short("digits-natural", epochs=4, execution=execution))
    losses = [fitted.training.epochs[-1].loss for fitted in (plain, other)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_compiled_network_learns_the_same(fit_few: Fit) -> None:
    plain = fit_few(short("digits-quick"))
    compiled = fit_few(short("digits-quick", execution=Execution(compile=True)))
    assert set(plain.model.state_dict()) == set(compiled.model.state_dict())
    losses = [fitted.training.epochs[-1].loss for fitted in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_training_may_start_from_weights(digits: Splits) -> None:
    config = short("digits-natural", epochs=1)
    config = replace(config, optimisation=Optimisation(peak_learning_rate=1e-12))
    start = build("small_cnn", SHAPE, 10, {}).state_dict()
    few_images, held = few(digits.train, 100), few(digits.test, 20)
    fitted = fit(config, SHAPE, 10, few_images, held, device=CPU, progress=quiet, weights=start)
    assert torch.allclose(fitted.model.head.weight, start["head.weight"], atol=1e-9)
    wrong = build("small_cnn", SHAPE, 10, {"width": 4}).state_dict()
    with pytest.raises(ArtifactError, match="do not fit"):
        fit(config, SHAPE, 10, few_images, held, device=CPU, progress=quiet, weights=wrong)


@pytest.mark.parametrize(("label", "told"), [(0, "one class"), (10, "label 10")])
def test_labels_that_make_no_training_are_refused(digits: Splits, label: int, told: str) -> None:
    images = few(digits.train, 60)
    labels = images.labels.copy()
    labels[:] = 0
    labels[-1] = label
    with pytest.raises(DataError, match=told):
        fit(
            short("digits-natural"),
            ImageShape(channels=1, height=8, width=8),
            10,
            ImageSet(images.images, labels),
            few(digits.test, 20),
            device=CPU,
            progress=quiet,
        )
