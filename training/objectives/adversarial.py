"""What objectives that attack each batch have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torchkeep.errors import SettingsError
from torchkeep.threat_model import Epsilon, ThreatModel
from training.objectives.objective import Moment, Objective
from training.schedule import ramp


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversarial(Objective):
    """`steps` steps of length `step_size`, which must be above 0 (units of 0..1).

    `warm_up` is the share of the training in which radius and steps grow from nothing to their
    size; without it some networks never leave a constant answer at large radii.
    """

    step_size: float
    steps: int = 10
    warm_up: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.step_size < math.inf and self.steps >= 1 and 0 <= self.warm_up < 1):
            raise SettingsError(
                f"{self.kind} needs step_size above 0, steps from 1 and warm_up from 0 to below 1"
            )

    def grown(self, threat: ThreatModel, moment: Moment) -> tuple[ThreatModel, float]:
        """Return the threat model and the step size as large as they are at a moment."""
        share = ramp(moment.done, self.warm_up)
        return replace(threat, eps=Epsilon(threat.eps * share)), self.step_size * share

    def attack_steps(self, extra: int) -> int:
        return self.steps + extra

    def warm_from(self) -> float:
        return self.warm_up
