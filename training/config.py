"""What one training does, as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training: data, network, threat model and the numbers of the loop.

    `step_size` is the length of a single attack step, more steps are shorter ones; `peak_at` the
    share of all steps after which the triangular learning rate peaks; `warm_up` the share in which
    the radius of the attack grows from nothing to eps.
    """

    recipe: str
    source: str
    name: str
    data: str
    architecture: str
    threat_model: ThreatModel
    step_size: float
    attack_steps: int = 1
    epochs: int
    batch_size: int
    peak_learning_rate: float
    options: Mapping[str, Any] = field(default_factory=dict)
    peak_at: float = 0.4
    warm_up: float = 0.0
    weight_decay: float = 0.0
    seed: int = 0
    probe_images: int = 200
    probe_steps: int = 10
    collapse_fall: float = 0.2
    collapse_gap: float = 0.65
    evaluation_images: int = 1000
    evaluation_steps: int = 40
    evaluation_restarts: int = 5

    def __post_init__(self) -> None:
        counts = (
            self.attack_steps,
            self.epochs,
            self.batch_size,
            self.probe_images,
            self.probe_steps,
            self.evaluation_images,
            self.evaluation_steps,
            self.evaluation_restarts,
        )
        if min(counts) < 1:
            raise SettingsError("epochs, batch_size and the counts of a training must be 1 or more")
        if self.peak_learning_rate <= 0 or self.step_size <= 0 or self.weight_decay < 0:
            raise SettingsError("peak_learning_rate and step_size must be above 0")
        if not all(
            0 < share < 1 for share in (self.peak_at, self.collapse_fall, self.collapse_gap)
        ):
            raise SettingsError("peak_at, collapse_fall, collapse_gap must lie between 0 and 1")
        if not 0 <= self.warm_up < 1:
            raise SettingsError(f"warm_up {self.warm_up}", remedy="Give a share from 0 to below 1.")
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"seed {self.seed}", remedy="Give a whole number from 0.")
