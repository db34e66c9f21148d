"""FAB-T: the closest point that is another class, by steps onto linearised decision boundaries.

Croce and Hein 2020 (Minimally distorted adversarial examples with a fast adaptive boundary attack),
algorithm 1, its targeted form as in standard AutoAttack. Shapes: B batch, C H W an image, D pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustness.attacks.attack import Attack
from robustness.attacks.hyperplane import step_onto
from robustness.attacks.losses import likely_targets
from robustness.attacks.perturbation import distances
from torchkeep.errors import SettingsError
from torchkeep.threat_model import Norm, ThreatModel

LARGEST_BIAS = 0.1
"""Towards the original image, of each step (alpha_max)."""
OVERSHOOT = 1.05
BACKWARD = 0.9
"""A point that won is drawn back to this share of its distance (beta)."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class FABT(Attack):
    """Minimal perturbations towards each likely class; kept where they lie within the radius.

    An image for which none does is left as it is.
    """

    threat: ThreatModel
    steps: int = 100
    targets: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.targets) < 1:
            raise SettingsError("FAB-T needs 1 or more steps and targets")

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            logits = model(images)
        best = images.clone()
        open_ = logits.argmax(1) == labels
        choices = likely_targets(logits, labels, self.targets)
        for place in range(choices.shape[1]):
            left = torch.nonzero(open_).flatten()
            if not len(left):
                break
            found, near = self._towards(model, images[left], labels[left], choices[left, place])
            inside = near <= self.threat.eps
            best[left[inside]] = found[inside]
            open_[left[inside]] = False
        return best

    def _towards(
        self, model: nn.Module, images: Tensor, labels: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the closest misclassified points found, and how close they are (inf: none)."""
        original = images.flatten(1)
        at, best = images, images
        nearest = original.new_full((len(images),), torch.inf)
        for _ in range(self.steps):
            at = self._step(model, at, original, labels, targets)
            with torch.no_grad():
                won = model(at).argmax(1) != labels
            distance = distances(images, at, self.threat.norm)
            closer = won & (distance < nearest)
            best = torch.where(_per_image(closer), at, best)
            nearest = torch.where(closer, distance, nearest)
            at = torch.where(_per_image(won), images + BACKWARD * (at - images), at)
        return best, nearest

    def _step(
        self, model: nn.Module, at: Tensor, original: Tensor, labels: Tensor, targets: Tensor
    ) -> Tensor:
        pixels = at.detach().requires_grad_()
        with torch.enable_grad():
            logits = model(pixels)
            rise = logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])
            (gradient,) = torch.autograd.grad(rise.sum(), pixels)
        flat, normal = at.flatten(1), gradient.flatten(1)
        here = -rise.detach().squeeze(1)
        there = here + (normal * (flat - original)).sum(1)
        both = step_onto(
            torch.cat([flat, original]),
            torch.cat([normal, normal]),
            torch.cat([here, there]),
            self.threat.norm,
        )
        from_here, from_original = both.chunk(2)
        size = _size(from_here, self.threat.norm).clamp_min(1e-8)
        whole = size + _size(from_original, self.threat.norm).clamp_min(1e-8)
        bias = (size / whole).clamp(0, LARGEST_BIAS)
        moved = (flat + OVERSHOOT * from_here) * (1 - bias)
        moved = moved + (original + OVERSHOOT * from_original) * bias
        return moved.clamp(0, 1).view_as(at)


def _size(step: Tensor, norm: Norm) -> Tensor:
    order = {Norm.LINF: torch.inf, Norm.L2: 2, Norm.L1: 1}[norm]
    size: Tensor = torch.linalg.vector_norm(step, order, dim=1, keepdim=True)
    return size


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
