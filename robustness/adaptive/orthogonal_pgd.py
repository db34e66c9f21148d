"""Orthogonal PGD: steps that help against one part and leave the other where it is.

Bryniarski et al. 2021 (Evading Adversarial Example Detection Defenses with Orthogonal Projected
Gradient Descent), section 4. Shapes: B batch, C H W an image, D pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustness.adaptive.adaptive_attack import AdaptiveAttack, Best, as_joint
from robustness.adaptive.joint_model import JointModel
from robustness.attacks.losses import margin
from robustness.attacks.perturbation import ascent_direction, project, random_start
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel

_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class OrthogonalPGD(AdaptiveAttack):
    """Both published forms, in turns: projected gradients, and one part at a time (selective)."""

    threat: ThreatModel
    steps: int = 100
    restarts: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.restarts) < 1:
            raise SettingsError("orthogonal PGD needs 1 or more steps and restarts")

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        joint = as_joint(model)
        generator = torch.Generator().manual_seed(self.seed)
        best = self.beginning(joint, images, labels)
        for turn in range(self.restarts):
            left = best.left
            if not len(left):
                break
            x = images[left]
            if turn < 2 and self.starts is not None:
                moved = self.starts[left] - x
            else:
                moved = random_start(x, self.threat, generator)
            self._walk(joint, x, labels[left], left, moved, best, projected=turn % 2 == 0)
        return best.images

    def _walk(
        self,
        joint: JointModel,
        images: Tensor,
        labels: Tensor,
        which: Tensor,
        moved: Tensor,
        best: Best,
        *,
        projected: bool,
    ) -> None:
        """Walk from `moved`, offering each point where the image is wrong."""
        for step in range(self.steps):
            fooling, seen, wrong, alarmed = _gradients(joint, images + moved, labels)
            if projected:
                fooling, seen = _without(fooling, seen), _without(seen, fooling)
            go = torch.where(_per_image(wrong & alarmed), -seen, fooling)
            # wrong and unseen by the heads: stay, and be offered
            size = self.threat.eps * 0.2 * 0.02 ** (step / self.steps)
            move = size * ascent_direction(go, self.threat.norm)
            move = torch.where(_per_image(wrong & ~alarmed), torch.zeros_like(move), move)
            moved = project(images, moved + move, self.threat)
            if step % 10 == 9 or step == self.steps - 1:
                best.offer(joint, which, images + moved, labels)


def _gradients(
    joint: JointModel, points: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of margin and worst excess, and where each part is above 0."""
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        sight = joint.sight(points)
        wrong_by = margin(sight.logits, labels)
        (fooling,) = torch.autograd.grad(wrong_by.sum(), points, retain_graph=True)
        if not sight.excess.shape[1]:
            return fooling, torch.zeros_like(fooling), wrong_by > 0, torch.zeros_like(wrong_by > 0)
        worst = sight.excess.amax(1)
        (seen,) = torch.autograd.grad(worst.sum(), points)
    return fooling, seen, wrong_by > 0, worst > 0


def _without(gradient: Tensor, other: Tensor) -> Tensor:
    """Return the part of a gradient that is orthogonal to another."""
    a, b = gradient.flatten(1), other.flatten(1)
    share = (a * b).sum(1, keepdim=True) / (b * b).sum(1, keepdim=True).clamp_min(_TINY)
    return (a - share * b).view_as(gradient)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
