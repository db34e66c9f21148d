"""Transfer: attack a second network, and show the result to the first (Papernot et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from robustness.attacks.apgd import APGD
from robustness.attacks.attack import Attack
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Attack):
    """Auto-PGD on the cross-entropy of `source`; the attacked model is not asked."""

    threat: ThreatModel
    source: nn.Module | None = field(default=None, compare=False)
    steps: int = 100
    seed: int = 0

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        if self.source is None:
            raise SettingsError("transfer needs a second network", remedy="Give its artifact.")
        attack: Any = APGD(threat=self.threat, steps=self.steps, seed=self.seed)
        made: Tensor = attack(self.source, images, labels).images
        return made
