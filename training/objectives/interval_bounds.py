"""Interval-bound certified training (Gowal et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor

from robustness.certification.interval_bounds import worst_logits
from torchkeep.architectures import Classifier
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel
from training.objectives.objective import Objective
from training.schedule import ramp


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalBounds(Objective):
    """kappa · cross-entropy + (1 - kappa) · cross-entropy of the worst logits in the ball.

    Until the share `natural_until` only the first term counts; then the radius grows to the threat
    model's and kappa falls from 1 to `kappa`, until the share `ramp_until`.
    """

    kind: ClassVar[str] = "interval_bounds"
    source: ClassVar[str] = (
        "Gowal et al. 2018, On the Effectiveness of Interval Bound Propagation for Training "
        "Verifiably Robust Models, equation 12"
    )
    kappa: float = 0.5
    natural_until: float = 0.05
    ramp_until: float = 0.6

    def __post_init__(self) -> None:
        if not (0 <= self.kappa <= 1 and 0 <= self.natural_until < self.ramp_until < 1):
            raise SettingsError(
                "interval bounds need kappa in 0..1 and 0 <= natural_until < ramp_until < 1"
            )

    def loss(
        self,
        model: Classifier,
        prepared: tuple[Tensor, ...],
        labels: Tensor,
        threat: ThreatModel,
        done: float,
    ) -> Tensor:
        natural = F.cross_entropy(model(prepared[0]), labels)
        grown = self.grown(done)
        if not grown:
            return natural
        worst = F.cross_entropy(
            worst_logits(model, prepared[0], labels, grown * threat.eps), labels
        )
        kappa = 1 - grown * (1 - self.kappa)
        return kappa * natural + (1 - kappa) * worst

    def warm_from(self) -> float:
        return self.ramp_until

    def grown(self, done: float) -> float:
        """Return how far radius and kappa have come when the share `done` of the steps is done."""
        late = done - self.natural_until
        return ramp(late, self.ramp_until - self.natural_until) if late > 0 else 0.0
