"""Square on the joint criterion: no gradient, so none can be masked.

Andriushchenko et al. 2020, on the smaller of margin and lack of excess instead of the margin.
Shapes: B batch, C H W an image.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from robustness.adaptive.adaptive_attack import (
    AdaptiveAttack,
    as_joint,
    joint_criterion,
)
from robustness.attacks.square import square_search
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel


@dataclass(frozen=True, slots=True, kw_only=True)
class JointSquare(AdaptiveAttack):
    """Random search for points that are wrong and accepted, from scores alone."""

    threat: ThreatModel
    queries: int = 2000
    share: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.queries < 1 or not 0 < self.share <= 1:
            raise SettingsError("Square needs 1 or more queries and a share above 0, up to 1")

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        joint = as_joint(model)
        best = self.beginning(joint, images, labels)
        left = best.left
        if len(left):
            own = labels[left]

            def score(asked: Tensor, places: Tensor) -> Tensor:
                return joint_criterion(joint, asked, own[places])

            points, _ = square_search(
                images[left],
                score,
                self.threat,
                queries=self.queries,
                share=self.share,
                seed=self.seed,
            )
            best.offer(joint, left, points, own)
        return best.images
