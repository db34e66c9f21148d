"""Auto-PGD on the margin less λ times what the detectors see, λ searched for each image.

The objective of Carlini and Wagner 2017 (Adversarial Examples Are Not Easily Detected, section 4),
its λ raised where the attack is detected and lowered where it does not fool; every third run is
on the smaller of both parts instead (Tramèr et al. 2020). Shapes: B batch, K classes, S heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustness.adaptive.adaptive_attack import AdaptiveAttack, Best, Reading, as_joint
from robustness.attacks.apgd import auto_pgd
from robustness.attacks.losses import margin
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel

KEPT_BELOW = 0.05
"""How far below its limit a head's score is pushed, in its spreads."""
ENOUGH = 0.05
"""Margin, as a share of the clean one, beyond which being more wrong is worth nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointAttack(AdaptiveAttack):
    """`rounds` runs, each from a random start or from where the best one ended, with its own λ."""

    threat: ThreatModel
    steps: int = 100
    rounds: int = 8
    first_weight: float = 0.1
    factor: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.rounds) < 1 or self.first_weight <= 0 or self.factor <= 1:
            raise SettingsError("the joint attack needs steps, rounds, a weight and a factor")

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        joint = as_joint(model)
        generator = torch.Generator().manual_seed(self.seed)
        best = self.beginning(joint, images, labels)
        reading, weights = Reading(joint), images.new_full((len(images),), self.first_weight)
        with torch.no_grad():
            logits = model(images)
        scale, classes = margin(logits, labels).abs().clamp_min(1e-3), logits.shape[1]
        for turn in range(self.rounds):
            left = best.left
            if not len(left):
                break
            judge = JointJudge(
                labels[left], weights[left], scale[left], classes, smaller=turn % 3 == 2
            )
            start = self._start(turn, left, best)
            points, _, _ = auto_pgd(
                reading, images[left], judge, self.threat, self.steps, generator, start
            )
            best.offer(joint, left, points, labels[left])
            with torch.no_grad():
                wrong = joint(points).argmax(1) != labels[left]
            weights[left] *= torch.where(wrong, self.factor, 1 / self.factor)
        return best.images

    def _start(self, turn: int, left: Tensor, best: Best) -> Tensor | None:
        """Return where a run begins: where others ended, at random, or where the best one ended."""
        if turn % 3 == 1:
            return None
        if turn == 0 and self.starts is not None:
            return self.starts[left]
        return best.images[left] if turn else None


@dataclass(frozen=True, slots=True)
class JointJudge:
    """The objective on a reading (B K + S): its value, and where the attack has won.

    With `smaller` it is the smaller of both parts, else the margin less the weighted hinge.
    """

    labels: Tensor
    weights: Tensor
    scale: Tensor
    classes: int
    smaller: bool = False

    def __call__(self, reading: Tensor) -> tuple[Tensor, Tensor]:
        logits, excess = reading[:, : self.classes], reading[:, self.classes :]
        wrong_by = margin(logits, self.labels) / self.scale
        seen = excess.amax(1) if excess.shape[1] else torch.full_like(wrong_by, -1.0)
        won = (wrong_by > 0) & (seen <= 0)
        if self.smaller:
            return torch.minimum(wrong_by, -seen), won
        hinge = (excess + KEPT_BELOW).clamp_min(0).sum(1)
        return wrong_by.clamp_max(ENOUGH) - self.weights * hinge, won
