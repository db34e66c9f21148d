"""TRADES: natural loss plus the divergence between answers to an image and its attacked twin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor

from robustness.attacks.perturbation import project
from torchkeep.architectures import Classifier
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel
from training.modes import evaluating
from training.objectives.adversarial import Adversarial
from training.objectives.ascent import ascend
from training.objectives.objective import Moment

_START = 1e-3
"""Deviation of the Gaussian start, as in the authors' code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TRADES(Adversarial):
    """Cross-entropy of the image + `beta` · KL(p(image) ‖ p(attacked)) (equation 5)."""

    kind: ClassVar[str] = "trades"
    source: ClassVar[str] = (
        "Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan 2019, Theoretically Principled Trade-off between "
        "Robustness and Accuracy, equation 5 and algorithm 1"
    )
    beta: float = 6.0

    def __post_init__(self) -> None:
        Adversarial.__post_init__(self)
        if not 0 <= self.beta < math.inf:
            raise SettingsError(f"beta is {self.beta}", remedy="Give 0 or more.")

    def prepare(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        moment: Moment,
    ) -> tuple[Tensor, ...]:
        ball, length = self.grown(threat, moment)
        noise = torch.randn(
            images.shape, generator=moment.generator, device=moment.generator.device
        )
        start = project(images, _START * noise.to(images), ball)
        with evaluating(model):
            with torch.no_grad():
                clean = model(images)
            attacked = ascend(
                lambda moved: divergence(clean, model(moved)) * len(images),
                images,
                start,
                ball,
                step_size=length,
                steps=self.attack_steps(moment.extra_steps),
            )
        return images, attacked

    def loss(
        self,
        model: Classifier,
        prepared: tuple[Tensor, ...],
        labels: Tensor,
        threat: ThreatModel,
        done: float,
    ) -> Tensor:
        clean, attacked = model(prepared[0]), model(prepared[1])
        return F.cross_entropy(clean, labels) + self.beta * divergence(clean, attacked)


def divergence(logits: Tensor, others: Tensor) -> Tensor:
    """Return the mean over the batch of KL(softmax(logits) ‖ softmax(others)), both B K."""
    return F.kl_div(
        F.log_softmax(others, 1), F.log_softmax(logits, 1), reduction="batchmean", log_target=True
    )
