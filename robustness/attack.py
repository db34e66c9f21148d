"""The skeleton of an evasion attack: the base re-checks what an attack claims.

Shapes: B batch, C H W an image; pixels are in 0..1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from robustness.perturbation import distances
from torchkeep.errors import TorchkeepError
from torchkeep.threat_model import ThreatModel

ROUNDING = 1e-5
"""How far float32 arithmetic may leave the ball."""


@dataclass(frozen=True, slots=True)
class Attacked:
    """Perturbed images (B C H W) and where each fools the model (B)."""

    images: Tensor
    successful: Tensor


class Attack(ABC):
    """An attack on the plain classifier within a threat model."""

    threat: ThreatModel

    @final
    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Attacked:
        """Perturb `images` (B C H W) so that `model` no longer says `labels` (B).

        Raises `TorchkeepError` if the attack left the threat model: its numbers would be worthless.
        """
        was_training = model.training
        model.eval()
        try:
            perturbed = self.run(model, images, labels).detach()
            with torch.no_grad():
                successful = model(perturbed).argmax(1) != labels
        finally:
            model.train(was_training)
        moved = distances(images, perturbed, self.threat.norm)
        near = (moved <= self.threat.eps + ROUNDING).all()  # false for NaN, too
        valid = ((perturbed >= 0) & (perturbed <= 1)).all()
        if not (near and valid):
            raise TorchkeepError(f"{type(self).__name__} left its threat model")
        return Attacked(perturbed, successful)

    @abstractmethod
    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Return perturbed images; hook of the concrete attack."""
