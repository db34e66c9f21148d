"""Accuracy on test images: clean, and under PGD within the recipe's threat model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robustness.attacks.pgd import PGD
from robustness.certification.interval_bounds import certified
from torchkeep.architectures import Classifier
from torchkeep.artifact import Manifest
from torchkeep.errors import ArtifactError
from training.config import TrainConfig, WatchKind
from training.loop import Progress

BATCH = 250
RECORDED = frozenset({"evaluation_images", "evaluation_restarts", "evaluation_steps", "seed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Accuracies, as shares of 1, and what they were measured on."""

    clean_accuracy: float
    clean_images: int
    pgd_accuracy: float
    pgd_images: int
    pgd_steps: int
    pgd_restarts: int
    threat_model: str
    certified_accuracy: float | None = None
    """Share of all images that interval bounds prove within the threat model."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, what was not measured left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def evaluation_attack(config: TrainConfig) -> PGD:
    """Return the attack that the evaluation uses."""
    return PGD(
        threat=config.threat_model,
        steps=config.evaluation_steps,
        step_size=_step_size(config.threat_model.eps, config.evaluation_steps),
        restarts=config.evaluation_restarts,
        seed=config.seed,
        batch_size=BATCH,
    )


def recorded_attack(manifest: Manifest) -> tuple[PGD, int]:
    """Return the attack an artifact was evaluated with, and on how many images.

    Raises `ArtifactError` if its training left no such record.
    """
    config = manifest.train_record.get("config", {})
    if manifest.threat_model is None or not config.keys() >= RECORDED:
        raise ArtifactError(
            f"{manifest.name} {manifest.version} was not evaluated against an attack",
            remedy="Train it with an adversarial recipe.",
        )
    attack = PGD(
        threat=manifest.threat_model,
        steps=config["evaluation_steps"],
        step_size=_step_size(manifest.threat_model.eps, config["evaluation_steps"]),
        restarts=config["evaluation_restarts"],
        seed=config["seed"],
        batch_size=BATCH,
    )
    return attack, config["evaluation_images"]


def _step_size(eps: float, steps: int) -> float:
    """Return a step that crosses the ball: of 40 or more eps / 30 (Madry et al. 2018, MNIST)."""
    return eps * 4 / (3 * min(steps, 40))


def attack_images(
    model: nn.Module, attack: PGD, images: Tensor, labels: Tensor, progress: Progress
) -> Tensor:
    """Return the attacked twins of images (N C H W), batch by batch with progress."""
    twins = []
    for start in range(0, len(images), BATCH):
        progress("attack test images", start, len(images))
        batch = slice(start, start + BATCH)
        twins.append(attack(model, images[batch], labels[batch]).images)
    progress("attack test images", len(images), len(images))
    return torch.cat(twins)


def evaluate(
    model: Classifier, images: Tensor, labels: Tensor, config: TrainConfig, progress: Progress
) -> Evaluation:
    """Measure clean accuracy on all images (N C H W), PGD accuracy on the first of them.

    Where training was certified, so is the accuracy on all of them.
    """
    model.eval()
    count = min(config.evaluation_images, len(images))
    twins = attack_images(
        model, evaluation_attack(config), images[:count], labels[:count], progress
    )
    return Evaluation(
        clean_accuracy=accuracy(model, images, labels),
        clean_images=len(images),
        pgd_accuracy=accuracy(model, twins, labels[:count]),
        pgd_images=count,
        pgd_steps=config.evaluation_steps,
        pgd_restarts=config.evaluation_restarts,
        threat_model=str(config.threat_model),
        certified_accuracy=_certified_accuracy(model, images, labels, config),
    )


@torch.no_grad()
def _certified_accuracy(
    model: Classifier, images: Tensor, labels: Tensor, config: TrainConfig
) -> float | None:
    if config.watch.kind is not WatchKind.CERTIFIED:
        return None
    batches = zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True)
    eps = config.threat_model.eps
    return sum(int(certified(model, x, y, eps).sum()) for x, y in batches) / len(images)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images (N C H W) that are given their labels (N), batch by batch."""
    batches = zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True)
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)
    return right / len(images)
