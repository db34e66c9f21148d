"""The training loop: seeded, bounded by steps, watched for collapse.

Shapes: N training images, B batch, C H W an image; pixels are in 0..1 on the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from robustness.pgd import PGD
from torchkeep.errors import TrainingError
from training.config import TrainConfig
from training.fast_at import FastAttack
from training.overfitting_probe import OverfittingProbe

Progress = Callable[[str, int, int], None]
"""Called with a step's name, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to."""

    number: int
    loss: float
    attack_steps: int
    one_step_accuracy: float
    pgd_accuracy: float


@dataclass(frozen=True, slots=True)
class Training:
    """What the loop leaves beside the weights in the model."""

    epochs: tuple[Epoch, ...]
    steps: int
    collapsed_in: tuple[int, ...]


def triangular_rate(step: int, steps: int, peak: float, peak_at: float) -> float:
    """Return a learning rate that rises from 0 to `peak` and falls back to 0 (Smith 2017)."""
    rise = peak_at * steps
    share = step / rise if step < rise else (steps - step) / (steps - rise)
    return peak * share


def warm_up_share(step: int, steps: int, warm_up: float) -> float:
    """Return the share of the full radius at a step from 1: linear, 1 once warm."""
    return min(1.0, step / (warm_up * steps)) if warm_up else 1.0


@contextmanager
def deterministic(seed: int) -> Iterator[torch.Generator]:
    """Seed torch and ask for deterministic algorithms, for the block alone."""
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    probe: OverfittingProbe,
    config: TrainConfig,
    generator: torch.Generator,
    progress: Progress,
) -> Training:
    """Train `model` in place on `images` (N C H W) and `labels` (N).

    The attack's radius grows while `warm_up` lasts. After a collapse the best weights so far, if
    there are any, are put back, and training goes on against one attack step more. Raises
    `TrainingError` if the loss is no longer finite, or if no epoch was without a collapse.
    """
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=config.weight_decay)
    per_epoch = math.ceil(len(images) / config.batch_size)
    steps = config.epochs * per_epoch
    epochs: list[Epoch] = []
    collapsed_in: list[int] = []
    for number in range(1, config.epochs + 1):
        attack = FastAttack(
            threat=config.threat_model,
            step_size=config.step_size,
            steps=config.attack_steps + len(collapsed_in),
        )
        order = torch.randperm(len(images), generator=generator).to(images.device)
        total = torch.zeros((), device=images.device)
        for index, batch in enumerate(torch.split(order, config.batch_size)):
            step = (number - 1) * per_epoch + index
            rate = triangular_rate(step + 1, steps + 1, config.peak_learning_rate, config.peak_at)
            optimizer.param_groups[0]["lr"] = rate
            ramped = attack.scaled(warm_up_share(step + 1, steps, config.warm_up))
            total += _step(model, optimizer, images[batch], labels[batch], ramped, generator)
            progress("train", step + 1, steps)
        loss = total.item() / per_epoch
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is not finite in epoch {number}",
                remedy="Lower peak_learning_rate, or look for broken images.",
            )
        probed = probe.measure(model)
        epochs.append(
            Epoch(number, loss, attack.steps, probed.one_step_accuracy, probed.pgd_accuracy)
        )
        warm = number >= config.warm_up * config.epochs
        if warm and probe.collapsed(probed):
            collapsed_in.append(number)
            probe.restore(model)
            optimizer.state.clear()
    if probe.best < 0:
        raise TrainingError(
            "the network overfitted catastrophically in every epoch",
            remedy="Raise attack_steps or warm_up, or lower peak_learning_rate.",
        )
    return Training(tuple(epochs), steps, tuple(collapsed_in))


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    attack: FastAttack,
    generator: torch.Generator,
) -> Tensor:
    model.train()
    loss = F.cross_entropy(model(attack(model, images, labels, generator)), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def overfitting_probe(config: TrainConfig, images: Tensor, labels: Tensor) -> OverfittingProbe:
    """Build the probe of a configuration on held-out images (N C H W)."""
    threat, steps = config.threat_model, config.probe_steps
    return OverfittingProbe(
        one_step=PGD(threat=threat, steps=1, step_size=config.step_size, seed=config.seed),
        pgd=PGD(threat=threat, steps=steps, step_size=2 * threat.eps / steps, seed=config.seed),
        images=images[: config.probe_images],
        labels=labels[: config.probe_images],
        fall=config.collapse_fall,
        gap=config.collapse_gap,
    )
