"""What held-out images are measured for after each epoch, each process measuring its part.

Shapes: N held-out images, C H W an image; pixels are in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from robustness.attacks.pgd import PGD
from robustness.certification.interval_bounds import certified
from torchkeep.architectures import Classifier
from training.config import TrainConfig, WatchKind
from training.distributed import World
from training.modes import evaluating
from training.objectives import FastAT

CLEAN_ACCURACY = "clean_accuracy"
ONE_STEP = "one_step_accuracy"
PGD_ACCURACY = "pgd_accuracy"
CERTIFIED_ACCURACY = "certified_accuracy"

DECIDES = {
    WatchKind.CLEAN: CLEAN_ACCURACY,
    WatchKind.ROBUST: PGD_ACCURACY,
    WatchKind.COLLAPSE: PGD_ACCURACY,
    WatchKind.CERTIFIED: CERTIFIED_ACCURACY,
}
"""The accuracy by which the best epoch is told."""

Right = Callable[[Classifier, Tensor, Tensor], Tensor]
"""For which images (N C H W) with labels (N) a network is right in some sense: N booleans."""


class Watcher(Protocol):
    """Measures a network: accuracies, as shares of 1, by their names."""

    def __call__(self, model: Classifier) -> Mapping[str, float]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Held-out images, and the senses in which a network may be right on them."""

    images: Tensor
    labels: Tensor
    world: World
    senses: Mapping[str, Right]

    @classmethod
    def of(cls, config: TrainConfig, images: Tensor, labels: Tensor, world: World) -> HeldOut:
        """Watch as the configuration says, on the first of `images` (N C H W)."""
        count = min(config.watch.images, len(images))
        return cls(
            images=images[:count], labels=labels[:count], world=world, senses=_senses(config)
        )

    def __call__(self, model: Classifier) -> Mapping[str, float]:
        part = self.world.share(len(self.images))
        images, labels = self.images[part], self.labels[part]
        with evaluating(model):
            right = [sense(model, images, labels).sum() for sense in self.senses.values()]
        totals = self.world.total(torch.stack(right).double())
        return dict(zip(self.senses, (totals / len(self.images)).tolist(), strict=True))


def _senses(config: TrainConfig) -> dict[str, Right]:
    threat, watch = config.threat_model, config.watch
    senses: dict[str, Right] = {CLEAN_ACCURACY: _clean}
    if watch.kind is WatchKind.COLLAPSE:
        step = config.objective.step_size if isinstance(config.objective, FastAT) else threat.eps
        senses[ONE_STEP] = _unfooled(PGD(threat=threat, steps=1, step_size=step, seed=config.seed))
    if watch.kind in (WatchKind.COLLAPSE, WatchKind.ROBUST):
        size = 2 * threat.eps / watch.steps
        senses[PGD_ACCURACY] = _unfooled(
            PGD(threat=threat, steps=watch.steps, step_size=size, seed=config.seed)
        )
    if watch.kind is WatchKind.CERTIFIED:
        senses[CERTIFIED_ACCURACY] = torch.no_grad()(
            lambda model, images, labels: certified(model, images, labels, threat.eps)
        )
    return senses


@torch.no_grad()
def _clean(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    right: Tensor = model(images).argmax(1) == labels
    return right


def _unfooled(attack: PGD) -> Right:
    return lambda model, images, labels: ~attack(model, images, labels).successful
