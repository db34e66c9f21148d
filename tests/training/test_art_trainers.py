"""ART's trainers as a cross-check on small data: the same losses, within the noise of seeds.

The rates, batches, attacks and first weights are the same on both sides; the order of the images
and the random starts are not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from robustness.art_library import prepare
from robustness.attacks.pgd import PGD
from robustness.certification.interval_bounds import image_box, propagate, worst_logits
from torchkeep.architectures import Classifier, build
from torchkeep.data import ImageSet, Splits
from torchkeep.image_shape import ImageShape
from torchkeep.threat_model import Epsilon, Norm, ThreatModel
from training.batches import Plan, ResidentSource
from training.config import Optimisation, TrainConfig
from training.distributed import alone
from training.learner import Learner
from training.objectives import PGDAT, TRADES, Objective
from training.objectives.ascent import ascend
from training.recipes import recipe
from training.schedule import triangular_rate
from training.weight_perturbation import perturbed

WORLD = alone(torch.device("cpu"))
SHAPE = ImageShape(channels=1, height=8, width=8)
THREAT = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.15))
STEP_SIZE = THREAT.eps / 4
STEPS = 5
BATCH = 50
EPOCHS = 5
SEEDS = 4

Losses = NDArray[np.float64]
"""Losses under attack on held-out images after each epoch: SEEDS x EPOCHS."""


def network(seed: int) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build("small_cnn", SHAPE, 10, {})


def art_classifier(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    prepare()
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=SHAPE.chw,
        nb_classes=10,
        optimizer=optimizer,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


@dataclass(frozen=True)
class Material:
    """What both sides learn, and what both are measured on."""

    train: ImageSet
    held_out: Tensor
    labels: Tensor

    def loss(self, model: nn.Module) -> float:
        """Return the mean loss under one fixed attack."""
        attack = PGD(threat=THREAT, steps=10, step_size=STEP_SIZE)
        attacked = attack(model, self.held_out, self.labels).images
        with torch.no_grad():
            return cross_entropy(model(attacked), self.labels).item()


@pytest.fixture(scope="module")
def material(digits: Splits) -> Material:
    test = digits.test.subset(range(200))
    pixels = torch.from_numpy(test.images).float() / 255
    return Material(digits.train.subset(range(16 * BATCH)), pixels, torch.from_numpy(test.labels))


def configured(objective: Objective) -> TrainConfig:
    return replace(
        recipe("digits-pgd"),
        threat_model=THREAT,
        objective=objective,
        optimisation=Optimisation(peak_learning_rate=5e-3),
        epochs=EPOCHS,
        batch_size=BATCH,
    )


def our_losses(material: Material, config: TrainConfig, seed: int) -> list[float]:
    config = replace(config, seed=seed)
    model, losses = network(seed), []
    learner, source = Learner(model, config, WORLD), ResidentSource(material.train, WORLD.device)
    plan = Plan.of(config, len(material.train), WORLD)
    for epoch in range(EPOCHS):
        for number, indices in enumerate(plan.epoch(epoch + 1), epoch * plan.epoch_steps + 1):
            learner.step(source.gather(indices), number, plan.steps, 0)
        losses.append(material.loss(model))
    return losses


def art_losses(material: Material, config: TrainConfig, seed: int) -> list[float]:
    prepare()
    from art.defences.trainer import AdversarialTrainerMadryPGD

    model, losses, optimisation = network(seed), [], config.optimisation
    pixels, labels = material.train.images.astype(np.float32) / 255, material.train.labels
    steps = EPOCHS * len(labels) // BATCH
    optimizer = torch.optim.Adam(model.parameters(), optimisation.peak_learning_rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(  # one step a batch: ART fits each by itself
        optimizer, lambda done: triangular_rate(done + 1, steps + 1, 1.0, optimisation.peak_at)
    )
    trainer = AdversarialTrainerMadryPGD(
        art_classifier(model, optimizer), eps=THREAT.eps, eps_step=STEP_SIZE, max_iter=STEPS
    )
    state = np.random.get_state()  # ART draws from it
    np.random.seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(EPOCHS):
            trainer.fit(pixels, labels, batch_size=BATCH, nb_epochs=1, scheduler=scheduler)
            losses.append(material.loss(model))
    np.random.set_state(state)
    return losses


def over_seeds(
    losses: Callable[[Material, TrainConfig, int], list[float]],
    material: Material,
    config: TrainConfig,
) -> Losses:
    return np.array([losses(material, config, seed) for seed in range(SEEDS)])


RIGHT = PGDAT(step_size=STEP_SIZE, steps=STEPS)


@pytest.fixture(scope="module")
def reference(material: Material) -> Losses:
    return over_seeds(art_losses, material, configured(RIGHT))


@pytest.fixture(scope="module")
def ours(material: Material) -> Losses:
    return over_seeds(our_losses, material, configured(RIGHT))


def standard_errors(one: Losses, other: Losses, noise: tuple[Losses, Losses]) -> float:
    """Return how far the means of two lie apart at the worst epoch, in standard errors.

    The noise is that of seeds within either side, pooled over sides and epochs.
    """
    variance = np.mean([side.var(axis=0, ddof=1) for side in noise])
    apart = np.abs(one.mean(axis=0) - other.mean(axis=0)).max()
    return float(apart / np.sqrt(2 * variance / SEEDS))


def test_pgd_training_goes_as_arts_does(ours: Losses, reference: Losses) -> None:
    assert standard_errors(ours, reference, (ours, reference)) < 3
    assert (ours[:, -1] < ours[:, 0] - 0.5).all()  # something was learnt


@pytest.mark.parametrize(
    ("broken", "radius"),
    [
        (replace(RIGHT, step_size=1e-9, steps=1), 1.0),
        (replace(RIGHT, steps=1), 1.0),
        (RIGHT, 0.5),
    ],
    ids=["no step", "one step", "half the radius"],
)
def test_a_broken_attack_would_show(
    ours: Losses, reference: Losses, material: Material, broken: PGDAT, radius: float
) -> None:
    config = configured(broken)
    config = replace(config, threat_model=replace(THREAT, eps=Epsilon(radius * THREAT.eps)))
    twin = over_seeds(our_losses, material, config)
    assert standard_errors(twin, reference, (ours, reference)) > 6


def batch(material: Material) -> tuple[Tensor, Tensor]:
    labels = torch.from_numpy(material.train.labels[:BATCH])
    return torch.from_numpy(material.train.images[:BATCH]).float() / 255, labels


def art_attack(classifier: Any) -> Any:
    """Return ART's PGD from the images themselves, which draws nothing."""
    from art.attacks.evasion import ProjectedGradientDescent

    return ProjectedGradientDescent(
        classifier, eps=THREAT.eps, eps_step=STEP_SIZE, max_iter=STEPS, verbose=False
    )


def test_the_inner_ascent_is_arts(material: Material) -> None:
    model, (images, labels) = network(0), batch(material)
    moved = ascend(
        lambda points: cross_entropy(model(points), labels),
        images,
        torch.zeros_like(images),
        THREAT,
        step_size=STEP_SIZE,
        steps=STEPS,
    )
    classifier = art_classifier(model, torch.optim.SGD(model.parameters(), 0.1))
    expected = art_attack(classifier).generate(images.numpy(), labels.numpy())
    assert np.abs(moved.numpy() - expected).max() < 1e-6


RATE = 0.1


@dataclass
class Side:
    """A network, the optimizer of one plain step, and ART's view of it."""

    model: Classifier
    optimizer: torch.optim.Optimizer
    classifier: Any

    @classmethod
    def new(cls, rate: float = RATE) -> Side:
        model = network(0)
        optimizer = torch.optim.SGD(model.parameters(), rate)
        return cls(model, optimizer, art_classifier(model, optimizer))


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.allclose(a, b, rtol=0, atol=2e-6) for a, b in pairs)


def test_a_step_of_trades_is_arts(material: Material) -> None:
    mine, theirs, (images, labels) = Side.new(), Side.new(), batch(material)
    from art.defences.trainer import AdversarialTrainerTRADESPyTorch

    attack = art_attack(theirs.classifier)
    attacked = torch.from_numpy(attack.generate(images.numpy(), labels.numpy()))
    loss = TRADES(step_size=STEP_SIZE, beta=6.0).loss(
        mine.model, (images, attacked), labels, THREAT, 1.0
    )
    loss.backward()  # type: ignore[no-untyped-call]
    mine.optimizer.step()
    trainer = AdversarialTrainerTRADESPyTorch(theirs.classifier, attack, beta=6.0)
    total, _, count = trainer._batch_process(images.numpy(), labels.numpy())
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    assert same_weights(mine.model, theirs.model)
    assert not same_weights(mine.model, network(0))


@pytest.mark.parametrize("mode", ["PGD", "TRADES"])
def test_a_step_with_weight_perturbation_is_arts(material: Material, mode: str) -> None:
    mine, theirs, (images, labels) = Side.new(), Side.new(), batch(material)
    from art.defences.trainer import AdversarialTrainerAWPPyTorch

    attack = art_attack(theirs.classifier)
    attacked = torch.from_numpy(attack.generate(images.numpy(), labels.numpy()))
    objective: Objective = RIGHT if mode == "PGD" else TRADES(step_size=STEP_SIZE, beta=6.0)
    prepared = (attacked,) if mode == "PGD" else (images, attacked)

    def loss() -> Tensor:
        return objective.loss(mine.model, prepared, labels, THREAT, 1.0)

    calm = loss().item()
    with perturbed(mine.model, loss, 0.05, WORLD):
        moved = loss()
        moved.backward()  # type: ignore[no-untyped-call]
    mine.optimizer.step()
    trainer = AdversarialTrainerAWPPyTorch(
        theirs.classifier, Side.new(0.01).classifier, attack, mode, 0.05, 6.0, 0
    )
    trainer._apply_wp = True  # as its fit does after the warm-up
    total, _, count = trainer._batch_process(images.numpy(), labels.numpy())
    assert moved.item() == pytest.approx(total / count, rel=1e-4)
    assert moved.item() > 1.01 * calm
    assert same_weights(mine.model, theirs.model)


class Plain(nn.Module):
    """A network as ART's interval classifier wants it: layers in a row, flattened in between."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        layers = model.features
        self.conv1, self.relu1, self.conv2, self.relu2 = layers[1], layers[2], layers[3], layers[4]
        self.hidden, self.relu3, self.head = layers[6], layers[7], model.head

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu2(self.conv2(self.relu1(self.conv1(images))))
        logits: Tensor = self.head(self.relu3(self.hidden(maps.flatten(1))))
        return logits


def test_interval_bounds_are_arts_and_the_worst_logits_tighter(material: Material) -> None:
    prepare()
    from art.estimators.certification.interval import PyTorchIBPClassifier

    full, (images, labels) = network(0), batch(material)
    bare = nn.Sequential(*list(full.features)[1:])  # ART has no rule for normalisation
    model = Classifier(bare, full.head)
    with pytest.warns(UserWarning, match="does not support networks which"):
        classifier = PyTorchIBPClassifier(
            model=Plain(copy.deepcopy(full)),
            loss=nn.CrossEntropyLoss(),
            input_shape=SHAPE.chw,
            nb_classes=10,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
    for eps in (0.01, 0.1):
        bounds = classifier.predict_intervals(images.numpy(), bounds=eps, limits=[0.0, 1.0])
        with torch.no_grad():
            centre, radius = propagate(
                nn.Sequential(model.features, model.head), image_box(images, eps)
            )
            worst = cross_entropy(worst_logits(model, images, labels, eps), labels).item()
        assert np.abs(bounds[:, 0] - (centre - radius).numpy()).max() < 1e-4
        assert np.abs(bounds[:, 1] - (centre + radius).numpy()).max() < 1e-4
        looser = classifier.interval_loss_cce(torch.from_numpy(bounds), labels).item()
        assert 0.5 * looser < worst < looser
