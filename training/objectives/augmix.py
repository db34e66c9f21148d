"""AugMix: consistency under mixed chains of augmentations (Hendrycks et al. 2020).

Against natural corruptions such as noise, blur and weather, none of which it trains on. Shapes:
B batch, C H W an image, K classes; pixels are in 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor

from torchkeep.architectures import Classifier
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel
from training.objectives.image_operations import random_operation
from training.objectives.objective import Moment, Objective

WIDTH = 3
DEPTH = 3
"""Chains that are mixed, and the most operations in one, as in the paper's section 3."""
_TINY = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class AugMix(Objective):
    """Cross-entropy of the image + `weight` · JSD of the answers to it and two mixed twins.

    Of the paper's operations histogram equalisation is left out. `severity` is 0 to 10.
    """

    kind: ClassVar[str] = "augmix"
    source: ClassVar[str] = (
        "Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan 2020, AugMix, algorithm 1 and "
        "equation 3"
    )
    severity: float = 3.0
    weight: float = 12.0

    def __post_init__(self) -> None:
        if not (0 < self.severity <= 10 and 0 <= self.weight < math.inf):
            raise SettingsError("AugMix needs severity above 0, at most 10, and weight from 0")

    def prepare(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        moment: Moment,
    ) -> tuple[Tensor, ...]:
        twins = (mixed_chains(images, self.severity, moment.generator) for _ in range(2))
        return (images, *twins)

    def loss(
        self,
        model: Classifier,
        prepared: tuple[Tensor, ...],
        labels: Tensor,
        threat: ThreatModel,
        done: float,
    ) -> Tensor:
        logits = model(torch.cat(prepared)).chunk(len(prepared))
        return F.cross_entropy(logits[0], labels) + self.weight * jensen_shannon(logits)


def mixed_chains(images: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """Return each image mixed with `WIDTH` randomly augmented chains of itself: B C H W."""
    count = len(images)
    shares = -_uniform((WIDTH, count), images, generator).clamp_min(_TINY).log()
    shares = shares / shares.sum(0)  # Dirichlet(1, …, 1)
    mixture = torch.zeros_like(images)
    for share in shares:
        chain = images
        depths = (_uniform((count,), images, generator) * DEPTH).ceil()
        for step in range(DEPTH):
            changed = random_operation(chain, severity, generator)
            chain = torch.where(_per_image(step < depths), changed, chain)
        mixture = mixture + _per_image(share) * chain
    kept = _per_image(_uniform((count,), images, generator))  # Beta(1, 1)
    return kept * images + (1 - kept) * mixture


def jensen_shannon(logits: tuple[Tensor, ...]) -> Tensor:
    """Return the mean over the batch of the divergence among several answers, each B K."""
    probabilities = [each.softmax(1) for each in logits]
    middle = torch.stack(probabilities).mean(0).clamp(_TINY, 1).log()
    terms = [F.kl_div(middle, each, reduction="batchmean") for each in probabilities]
    return torch.stack(terms).mean()


def _uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device).to(like)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
