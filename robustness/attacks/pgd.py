"""Projected gradient descent with restarts (Madry et al. 2018, section 2.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from robustness.attacks.attack import Attack
from robustness.attacks.perturbation import ascent_direction, project, random_start
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PGD(Attack):
    """`restarts` random starts of `steps` steps of length `step_size` on the cross-entropy.

    Of each image the start with the highest loss is kept, a successful one before all others; an
    image that is fooled is not attacked again. Without `random_start` a start is the image itself:
    one step of length eps is then the fast gradient sign method (Goodfellow et al. 2015).
    """

    threat: ThreatModel
    steps: int
    step_size: float
    restarts: int = 1
    random_start: bool = True
    seed: int = 0
    batch_size: int = 500

    def __post_init__(self) -> None:
        if min(self.steps, self.restarts, self.batch_size) < 1 or not 0 < self.step_size < math.inf:
            raise SettingsError("PGD needs steps, restarts, batch_size and step_size above 0")

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        batches = zip(
            torch.split(images, self.batch_size), torch.split(labels, self.batch_size), strict=True
        )
        worst = [self._worst_of_restarts(model, x, y, generator) for x, y in batches]
        return torch.cat(worst) if worst else images

    def _worst_of_restarts(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        best = images.clone()
        best_loss = torch.full((len(images),), -torch.inf, device=images.device)
        open_ = torch.arange(len(images), device=images.device)
        for _ in range(self.restarts):
            if not len(open_):
                break
            perturbed = self._one_start(model, images[open_], labels[open_], generator)
            with torch.no_grad():
                logits = model(perturbed)
            loss = F.cross_entropy(logits, labels[open_], reduction="none")
            fooled = logits.argmax(1) != labels[open_]
            better = fooled | (loss > best_loss[open_])
            best[open_[better]] = perturbed[better]
            best_loss[open_[better]] = loss[better]
            open_ = open_[~fooled]
        return best

    def _one_start(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        perturbation = torch.zeros_like(images)
        if self.random_start:
            perturbation = random_start(images, self.threat, generator)
        for _ in range(self.steps):
            perturbation.requires_grad_()
            with torch.enable_grad():
                loss = F.cross_entropy(model(images + perturbation), labels, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, perturbation)
            step = self.step_size * ascent_direction(gradient, self.threat.norm)
            perturbation = project(images, perturbation.detach() + step, self.threat)
        return images + perturbation
