"""Interval-bound certified training (Gowal et al. 2018), and its mix with attacked images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor

from robustness.certification.interval_bounds import worst_logits
from torchkeep.architectures import Classifier
from torchkeep.errors import SettingsError
from torchkeep.threat_model import Epsilon, ThreatModel
from training.objectives.fast_at import FastAT
from training.objectives.objective import Moment, Objective
from training.schedule import ramp


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalBounds(Objective):
    """kappa · cross-entropy + (1 - kappa) · cross-entropy of the worst logits in the ball.

    Until the share `natural_until` only the first term counts; then the radius grows to the threat
    model's and kappa falls from 1 to `kappa`, until the share `ramp_until`.

    With an `attack_reach` above 0 the first term learns the images after `steps` attack steps
    within that many times the threat model's radius. With a kappa near 1 this is MTL-IBP (De Palma
    et al. 2024), which leaves more to linear bounds than to intervals.
    """

    kind: ClassVar[str] = "interval_bounds"
    source: ClassVar[str] = (
        "Gowal et al. 2018, On the Effectiveness of Interval Bound Propagation for Training "
        "Verifiably Robust Models, equation 12; with attacked images De Palma et al. 2024, "
        "Expressive Losses for Verified Robustness via Convex Combinations"
    )
    kappa: float = 0.5
    natural_until: float = 0.05
    ramp_until: float = 0.6
    attack_reach: float = 0.0
    steps: int = 2

    def __post_init__(self) -> None:
        if not (0 <= self.kappa <= 1 and 0 <= self.natural_until < self.ramp_until < 1):
            raise SettingsError(
                "interval bounds need kappa in 0..1 and 0 <= natural_until < ramp_until < 1"
            )
        if not (0 <= self.attack_reach < math.inf and self.steps >= 1):
            raise SettingsError("interval bounds need attack_reach from 0 and steps from 1")

    def prepare(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        moment: Moment,
    ) -> tuple[Tensor, ...]:
        """Return the images and, with an `attack_reach`, their attacked twins."""
        if not self.attack_reach:
            return (images,)
        radius = min(self.attack_reach * threat.eps, 1.0)  # wider than all pixels says nothing more
        attack = FastAT(step_size=1.25 * radius, steps=self.steps, warm_up=self.ramp_until)
        ball = replace(threat, eps=Epsilon(radius))
        return (images, *attack.prepare(model, images, labels, ball, moment))

    def loss(
        self,
        model: Classifier,
        prepared: tuple[Tensor, ...],
        labels: Tensor,
        threat: ThreatModel,
        done: float,
    ) -> Tensor:
        learnt = F.cross_entropy(model(prepared[-1]), labels)
        grown = self.grown(done)
        if not grown:
            return learnt
        worst = F.cross_entropy(
            worst_logits(model, prepared[0], labels, grown * threat.eps), labels
        )
        kappa = 1 - grown * (1 - self.kappa)
        return kappa * learnt + (1 - kappa) * worst

    def attack_steps(self, extra: int) -> int:
        return self.steps + extra if self.attack_reach else 0

    def warm_from(self) -> float:
        return self.ramp_until

    def grown(self, done: float) -> float:
        """Return how far radius and kappa have come when the share `done` of the steps is done."""
        late = done - self.natural_until
        return ramp(late, self.ramp_until - self.natural_until) if late > 0 else 0.0
