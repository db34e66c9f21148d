"""Where a training stands: what a checkpoint keeps of it beside weights and optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to; accuracies are shares of 1 on held-out images."""

    number: int
    loss: float
    attack_steps: int
    accuracies: Mapping[str, float]

    def to_json(self) -> dict[str, float]:
        """Return one flat object."""
        own = {"number": self.number, "loss": self.loss, "attack_steps": self.attack_steps}
        return {**own, **self.accuracies}

    @classmethod
    def from_json(cls, raw: Mapping[str, float]) -> Epoch:
        """Read what `to_json` wrote."""
        accuracies = {key: value for key, value in raw.items() if key.endswith("_accuracy")}
        return cls(int(raw["number"]), raw["loss"], int(raw["attack_steps"]), accuracies)


@dataclass(slots=True, kw_only=True)
class Standing:
    """Where a training stands; the loop moves it.

    `epoch_loss` is the sum of the losses of the epoch so far; `best` the accuracy that decides, in
    the best epoch so far (-1: none yet); `seconds` how long was trained, `waited` for images.
    """

    step: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    collapsed_in: list[int] = field(default_factory=list)
    epoch_loss: float = 0.0
    best: float = -1.0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    waited: float = 0.0
    resumed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return everything but the weights as plain JSON values."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return plain | {"epochs": [epoch.to_json() for epoch in self.epochs]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], best_weights: Mapping[str, Tensor]) -> Standing:
        """Read what `to_json` wrote."""
        plain = {name: raw[name] for name in _PLAIN}
        epochs = [Epoch.from_json(epoch) for epoch in raw["epochs"]]
        return cls(**plain, epochs=epochs, best_weights=dict(best_weights))


_PLAIN = ("step", "collapsed_in", "epoch_loss", "best", "seconds", "waited", "resumed")
