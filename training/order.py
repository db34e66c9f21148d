"""What a user orders: a recipe, and what shall be other than it says."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torchkeep.errors import SettingsError
from torchkeep.threat_model import Epsilon
from training.config import Precision, TrainConfig
from training.objectives.adversarial import Adversarial
from training.recipes import recipe

_EXECUTION = ("precision", "channels_last", "compile", "accumulate", "checkpoint_steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One training as ordered; None leaves what the recipe says.

    `index` names the index of a cleaned data set, `parent` the artifact to start from; `unscanned`
    allows data that nobody has scanned for poison; `fresh` forgets a checkpoint; `max_minutes`
    ends this run at a checkpoint.
    """

    recipe: str = "mnist-quick"
    data: str | None = None
    index: Path | None = None
    unscanned: bool = False
    name: str | None = None
    version: str = "1.0"
    parent: Path | None = None
    out: Path | None = None
    seed: int = 0
    epochs: int | None = None
    batch_size: int | None = None
    eps: float | None = None
    device: str = "cpu"
    precision: Precision | None = None
    channels_last: bool | None = None
    compile: bool | None = None
    accumulate: int | None = None
    checkpoint_steps: int | None = None
    fresh: bool = False
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        if self.max_minutes is not None and not 0 <= self.max_minutes < math.inf:
            raise SettingsError(f"--max-minutes {self.max_minutes}", remedy="Give 0 or more.")

    def config(self) -> TrainConfig:
        """Return the recipe with what was ordered in its place."""
        config = recipe(self.recipe)
        config = replace(
            config,
            seed=self.seed,
            execution=replace(config.execution, **self._given(*_EXECUTION)),
            **self._given("data", "name", "epochs", "batch_size"),
        )
        return config if self.eps is None else _resized(config, self.eps)

    def _given(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def _resized(config: TrainConfig, eps: float) -> TrainConfig:
    """Return the configuration for another radius; attack steps are longer or shorter with it."""
    threat = replace(config.threat_model, eps=Epsilon(eps))
    objective = config.objective
    if isinstance(objective, Adversarial):
        step_size = objective.step_size * eps / config.threat_model.eps
        objective = replace(objective, step_size=step_size)
    return replace(config, threat_model=threat, objective=objective)
