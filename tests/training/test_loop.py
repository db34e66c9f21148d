"""The loop undoes collapses, keeps the best, stops at broken losses, and counts its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import quiet
from tests.training.conftest import CPU, SHAPE, few, short
from torchkeep.architectures import Classifier, build
from torchkeep.data import ImageSet, Splits
from torchkeep.errors import TrainingError
from training.batches import Plan, ResidentSource
from training.config import TrainConfig, WatchKind
from training.distributed import alone
from training.held_out import Watcher
from training.learner import Learner
from training.loop import Loop, NoKeeper, Progress
from training.standing import Standing


class Scripted:
    """Reports, epoch by epoch, the accuracies it was given."""

    def __init__(self, one_step: list[float], pgd: list[float]) -> None:
        self.script = list(zip(one_step, pgd, strict=True))
        self.seen: list[dict[str, Tensor]] = []

    def __call__(self, model: Classifier) -> Mapping[str, float]:
        self.seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        one_step, robust = self.script.pop(0)
        return {"clean_accuracy": 1.0, "one_step_accuracy": one_step, "pgd_accuracy": robust}


def loop_of(
    images: ImageSet, config: TrainConfig, watcher: Watcher, progress: Progress = quiet
) -> Loop:
    world = alone(CPU)
    torch.manual_seed(config.seed)
    model = build(config.architecture, SHAPE, 10, config.options)
    return Loop(
        learner=Learner(model, config, world),
        source=ResidentSource(images, CPU),
        plan=Plan.of(config, len(images), world),
        watcher=watcher,
        standing=Standing(),
        keeper=NoKeeper(),
        progress=progress,
    )


def weights(loop: Loop) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in loop.learner.model.state_dict().items()}


def same(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture
def hundred(digits: Splits) -> ImageSet:
    return few(digits.train, 100)


def test_a_collapse_goes_back_to_the_best_weights_and_takes_one_attack_step_more(
    hundred: ImageSet,
) -> None:
    watcher = Scripted([0.9, 0.7, 0.6, 0.7], [0.4, 0.1, 0.5, 0.6])
    after: list[dict[str, Tensor]] = []
    loop = loop_of(hundred, short(epochs=4), watcher)

    def note(step: str, done: int, total: int) -> None:
        if done == 2 * total // 4:  # the last step before the collapse is seen
            after.append(weights(loop))

    loop.progress = note
    training = loop.run()
    assert training.collapsed_in == (2,)
    assert [epoch.attack_steps for epoch in training.epochs] == [1, 1, 2, 2]
    assert [epoch.accuracies["pgd_accuracy"] for epoch in training.epochs] == [0.4, 0.1, 0.5, 0.6]
    assert training.steps == 4 * 2
    assert same(after[0], watcher.seen[1])  # the collapsed ones
    assert not same(watcher.seen[2], after[0])
    assert same(weights(loop), loop.standing.best_weights)


def test_a_collapse_from_the_start_goes_on_with_more_steps(hundred: ImageSet) -> None:
    training = loop_of(hundred, short(epochs=2, objective=cold()), Scripted([0.9, 0.8], [0.0, 0.3]))
    result = training.run()
    assert result.collapsed_in == (1,)
    assert [epoch.attack_steps for epoch in result.epochs] == [1, 2]
    assert training.standing.best == pytest.approx(0.3)


def cold() -> object:
    return replace(short().objective, warm_up=0.0)  # type: ignore[call-arg]


def test_a_collapse_while_the_radius_grows_is_let_pass(hundred: ImageSet) -> None:
    loop = loop_of(hundred, short(epochs=4), Scripted([0.9] * 4, [0.0, 0.4, 0.5, 0.5]))
    assert loop.run().collapsed_in == ()


def test_a_collapse_in_the_last_epoch_leaves_the_best_weights(hundred: ImageSet) -> None:
    watcher = Scripted([0.5, 0.9], [0.4, 0.0])
    loop = loop_of(hundred, short(epochs=2), watcher)
    loop.run()
    assert same(weights(loop), watcher.seen[0])


def test_nothing_but_collapses_is_an_error(hundred: ImageSet) -> None:
    loop = loop_of(hundred, short(epochs=2, objective=cold()), Scripted([0.9] * 2, [0.0] * 2))
    with pytest.raises(TrainingError, match="in every epoch") as error:
        loop.run()
    assert error.value.exit_code == 3


def test_the_best_epoch_is_kept_where_that_is_wanted(hundred: ImageSet) -> None:
    for keeps, expected in ((True, 1), (False, 2)):
        watcher = Scripted([0.0] * 3, [0.2, 0.5, 0.4])
        config = short("digits-pgd", epochs=3)
        config = replace(config, watch=replace(config.watch, keep_best=keeps))
        loop = loop_of(hundred, config, watcher)
        loop.run()
        assert same(weights(loop), watcher.seen[expected])


class Broken(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images / 0


def test_a_loss_that_is_not_finite_is_an_error(hundred: ImageSet) -> None:
    loop = loop_of(hundred, short("digits-natural"), Scripted([1.0] * 2, [1.0] * 2))
    loop.learner.model.features.relu1 = Broken()
    with pytest.raises(TrainingError, match="epoch 1, by step 2"):
        loop.run()


def test_progress_counts_every_step_and_the_rates_are_measured(hundred: ImageSet) -> None:
    told: list[tuple[str, int, int]] = []
    config = short("digits-natural", epochs=3)
    assert config.watch.kind is WatchKind.CLEAN
    loop = loop_of(hundred, config, Scripted([0.0] * 3, [0.0] * 3), lambda *said: told.append(said))
    training = loop.run()
    assert told == [("train", step, 6) for step in range(1, 7)]
    assert training.images_per_s == pytest.approx(300 / training.runtime_s)
    assert 0 <= training.loading_share < 1
    assert all(np.isfinite(epoch.loss) for epoch in training.epochs)
