"""The skeleton of an evasion attack: the base re-checks what an attack claims.

Shapes: B batch, C H W an image; pixels are in 0..1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from robustness.attacks.perturbation import within
from torchkeep.errors import TorchkeepError
from torchkeep.threat_model import Threat


@dataclass(frozen=True, slots=True)
class Attacked:
    """Perturbed images (B C H W) and where each fools the model (B)."""

    images: Tensor
    successful: Tensor


class Attack(ABC):
    """An attack on a classifier within a threat model."""

    threat: Any
    """A `Threat`; each attack says which kinds it can do."""

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
                successful = self.fooled(model, perturbed, labels)
        finally:
            model.train(was_training)
        threat: Threat = self.threat
        if not within(images, perturbed, threat).all():
            raise TorchkeepError(f"{type(self).__name__} left its threat model")
        return Attacked(perturbed, successful)

    @abstractmethod
    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Return perturbed images; hook of the concrete attack."""

    def fooled(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Return where the attacker wins (B); hook of attacks that must also go undetected."""
        wrong: Tensor = model(images).argmax(1) != labels
        return wrong
