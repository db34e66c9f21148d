"""What adaptive attacks share: when they have won, and the best they have found so far.

Shapes: B batch, C H W an image, K classes, S heads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustness.adaptive.joint_model import JointModel, Sight
from robustness.attacks.attack import Attack
from robustness.attacks.losses import margin
from torchkeep.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveAttack(Attack):
    """An attack on a `JointModel`: it wins where the answer is wrong and not flagged.

    `starts` (B C H W) are points that others found of the same images.
    """

    starts: Tensor | None = field(default=None, compare=False)

    def fooled(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        wrong: Tensor = model(images).argmax(1) != labels
        return wrong & as_joint(model).accepted(images)

    def beginning(self, joint: JointModel, images: Tensor, labels: Tensor) -> Best:
        """Return the best there is before the attack: the images or, where better, the starts."""
        best, every = Best.of(images), torch.arange(len(images), device=images.device)
        for points in (images, self.starts):
            if points is not None and len(images):
                best.offer(joint, every, points, labels)
        return best


def as_joint(model: nn.Module) -> JointModel:
    """Return the model as what an adaptive attack needs. Raises `SettingsError` if it is not."""
    if not isinstance(model, JointModel):
        raise SettingsError("an adaptive attack needs a JointModel, to see the detectors")
    return model


class Reading(nn.Module):
    """A `JointModel` whose output is logits and excess side by side: B (K + S)."""

    def __init__(self, joint: JointModel) -> None:
        super().__init__()
        self.joint = joint

    def forward(self, images: Tensor) -> Tensor:
        sight: Sight = self.joint.sight(images)
        return torch.cat([sight.logits, sight.excess], dim=1)


@dataclass(slots=True)
class Best:
    """Of each image the first point that won, until then the one with the highest criterion."""

    images: Tensor
    won: Tensor
    criterion: Tensor

    @classmethod
    def of(cls, images: Tensor) -> Best:
        """Begin with the images as they are."""
        nothing = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        lowest = torch.full((len(images),), -torch.inf, device=images.device)
        return cls(images.clone(), nothing, lowest)

    @property
    def left(self) -> Tensor:
        """Which images are still to be won."""
        return torch.nonzero(~self.won).flatten()

    def offer(self, joint: JointModel, which: Tensor, points: Tensor, labels: Tensor) -> None:
        """Look at points found of the images `which`, labelled `labels`, and keep the better."""
        criterion = joint_criterion(joint, points, labels)
        better = criterion > self.criterion[which]
        self.images[which[better]] = points[better]
        self.criterion[which[better]] = criterion[better]
        self.won[which] |= criterion > 0


@torch.no_grad()
def joint_criterion(joint: JointModel, images: Tensor, labels: Tensor) -> Tensor:
    """Return B, above 0 where wrong and accepted: the smaller of margin and lack of excess."""
    wrong_by = margin(joint(images), labels)
    inside_by = -joint.fused_excess(images)
    # being exactly at the threshold is accepted
    inside_by = torch.where(inside_by == 0, torch.full_like(inside_by, 1e-12), inside_by)
    return torch.minimum(wrong_by, inside_by)
