"""What one import does, as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportConfig:
    """One import: whose network it is, what it expects, and what it is measured against.

    `arguments` go to the constructor; `mean` and `std` are one number, one a channel, or none;
    `taps` None has them chosen. The evaluation is that of a training.
    """

    model: str
    name: str
    threat_model: ThreatModel
    arguments: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    taps: tuple[str, ...] | None = None
    seed: int = 0
    evaluation_images: int = 1000
    evaluation_steps: int = 40
    evaluation_restarts: int = 5

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(each > 0 for each in self.std):
            raise SettingsError(
                f"mean {self.mean} and std {self.std} do not fit",
                remedy="Give as many of each, and deviations above 0.",
            )
        counts = (self.evaluation_images, self.evaluation_steps, self.evaluation_restarts)
        if min(counts) < 1 or not 0 <= self.seed < 2**63:
            raise SettingsError("the counts of an evaluation must be 1 or more, the seed from 0")
