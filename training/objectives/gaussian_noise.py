"""Gaussian noise augmentation, so that the smoothed network is right (Cohen et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from torchkeep.architectures import Classifier
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel
from training.objectives.objective import Moment, Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianNoise(Objective):
    """Cross-entropy of images plus noise of deviation `sigma` (in units of 0..1), not clipped."""

    kind: ClassVar[str] = "gaussian_noise"
    source: ClassVar[str] = (
        "Cohen, Rosenfeld, Kolter 2019, Certified Adversarial Robustness via Randomized Smoothing, "
        "section 3.3"
    )
    sigma: float

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise SettingsError(f"sigma is {self.sigma}", remedy="Give a deviation above 0.")

    def prepare(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        moment: Moment,
    ) -> tuple[Tensor, ...]:
        noise = torch.randn(
            images.shape, generator=moment.generator, device=moment.generator.device
        )
        return (images + self.sigma * noise.to(images),)
