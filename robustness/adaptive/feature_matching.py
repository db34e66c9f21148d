"""Feature matching: look, to the detectors, like a clean image of another class.

Sabour et al. 2016 (Adversarial Manipulation of Deep Representations); against detectors Tramèr et
al. 2020, section 5. Shapes: B batch, C H W an image, K classes, A activations, G guides.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustness.adaptive.adaptive_attack import AdaptiveAttack, Reading, as_joint
from robustness.adaptive.joint_attack import JointJudge
from robustness.adaptive.joint_model import JointModel
from robustness.attacks.apgd import auto_pgd
from robustness.attacks.losses import margin
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel

FOREIGN = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMatching(AdaptiveAttack):
    """Matches activations of the closest clean, accepted guides of other classes, then polishes.

    `guides` (G C H W) with `guide_labels` (G) are clean images; without, the attacked images are
    guides to each other.
    """

    threat: ThreatModel
    steps: int = 60
    polish: int = 40
    guides_tried: int = 3
    seed: int = 0
    guides: Tensor | None = field(default=None, compare=False)
    guide_labels: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if min(self.steps, self.polish, self.guides_tried) < 1:
            raise SettingsError("feature matching needs 1 or more steps and guides")

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        joint = as_joint(model)
        best = self.beginning(joint, images, labels)
        if not len(images):
            return best.images
        generator = torch.Generator().manual_seed(self.seed)
        aims = self._aims(joint, images, labels)
        with torch.no_grad():
            logits = model(images)
        scale, classes = margin(logits, labels).abs().clamp_min(1e-3), logits.shape[1]
        for turn in range(aims.shape[1] if aims.ndim == 3 else 0):
            left = best.left
            if not len(left):
                break
            x, y = images[left], labels[left]
            matcher = _Matcher(joint, aims[left, turn])
            judge = _Match(joint, y)
            start, _, _ = auto_pgd(matcher, x, judge, self.threat, self.steps, generator)
            best.offer(joint, left, start, y)
            ones = torch.ones_like(scale[left])
            polishing = JointJudge(y, ones, scale[left], classes)
            points, _, _ = auto_pgd(
                Reading(joint), x, polishing, self.threat, self.polish, generator, start
            )
            best.offer(joint, left, points, y)
        return best.images

    @torch.no_grad()
    def _aims(self, joint: JointModel, images: Tensor, labels: Tensor) -> Tensor:
        """Return the activations to match, the closest first: B guides A."""
        guides, classes = self.guides, self.guide_labels
        if guides is None or classes is None:
            guides, classes = images, labels
        sight = joint.sight(guides)
        fit = (sight.logits.argmax(1) == classes) & joint.accepted(guides)
        aims, classes = sight.activations[fit], classes[fit]
        if not len(aims):
            return images.new_zeros(len(images), 0)
        scale = sight.activations.std(0, correction=0).clamp_min(1e-3)
        apart = torch.cdist(joint.sight(images).activations / scale, aims / scale)
        apart = apart + FOREIGN * (classes[None] == labels[:, None])
        count = min(self.guides_tried, len(aims))
        nearest = apart.topk(count, dim=1, largest=False).indices
        return aims[nearest]


class _Matcher(nn.Module):
    """Returns how far activations are from their aims, squared and scaled: B 1."""

    def __init__(self, joint: JointModel, aims: Tensor) -> None:
        super().__init__()
        self.joint = joint
        self.aims = aims
        self.scale = aims.std(0).clamp_min(1e-3) if len(aims) > 1 else torch.ones_like(aims[0])

    def forward(self, images: Tensor) -> Tensor:
        sight = self.joint.sight(images)
        apart = ((sight.activations - self.aims) / self.scale).square().mean(1)
        return apart[:, None]


@dataclass(frozen=True, slots=True)
class _Match:
    """The objective of matching: less distance is better; winning is looked at afterwards."""

    joint: JointModel
    labels: Tensor

    def __call__(self, apart: Tensor) -> tuple[Tensor, Tensor]:
        loss = -apart.squeeze(1)
        return loss, torch.zeros_like(loss, dtype=torch.bool)
