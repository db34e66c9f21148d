"""Accuracy on test images: clean, and under PGD within the recipe's threat model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robustness.pgd import PGD
from training.config import TrainConfig

BATCH = 250
STEP_SIZE_SHARE = 30
"""A step is eps / 30: 0.01 at Linf 0.3, the step of Madry et al. 2018 for MNIST."""


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

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def evaluation_attack(config: TrainConfig) -> PGD:
    """Return the attack that the evaluation and the screening report share."""
    return PGD(
        threat=config.threat_model,
        steps=config.evaluation_steps,
        step_size=config.threat_model.eps / STEP_SIZE_SHARE,
        restarts=config.evaluation_restarts,
        seed=config.seed,
        batch_size=BATCH,
    )


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    config: TrainConfig,
    progress: Callable[[str, int, int], None],
) -> Evaluation:
    """Measure clean accuracy on all images (N C H W), PGD accuracy on the first of them."""
    model.eval()
    attack = evaluation_attack(config)
    count = min(config.evaluation_images, len(images))
    fooled = 0
    for start in range(0, count, BATCH):
        progress("evaluate", start, count)
        batch = slice(start, min(start + BATCH, count))
        fooled += int(attack(model, images[batch], labels[batch]).successful.sum())
    progress("evaluate", count, count)
    return Evaluation(
        clean_accuracy=_accuracy(model, images, labels),
        clean_images=len(images),
        pgd_accuracy=1 - fooled / count,
        pgd_images=count,
        pgd_steps=config.evaluation_steps,
        pgd_restarts=config.evaluation_restarts,
        threat_model=str(config.threat_model),
    )


@torch.no_grad()
def _accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    batches = zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True)
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)
    return right / len(images)
