"""Fast adversarial training: few steps from a random start (Wong et al. 2020, algorithm 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor

from robustness.attacks.perturbation import random_noise
from torchkeep.architectures import Classifier
from torchkeep.threat_model import ThreatModel
from training.objectives.adversarial import Adversarial
from training.objectives.ascent import ascend
from training.objectives.objective import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class FastAT(Adversarial):
    """Moves a batch up the loss before it is learnt.

    `step_size` is the length of a single step; more steps are shorter ones.
    """

    kind: ClassVar[str] = "fast_at"
    source: ClassVar[str] = "Wong, Rice, Kolter 2020, Fast is better than free, algorithm 3"
    steps: int = 1

    def prepare(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        moment: Moment,
    ) -> tuple[Tensor, ...]:
        """Return the images moved up the loss from a random start.

        The start may leave valid pixels, the result does not: noise that is clipped first invites
        catastrophic overfitting (de Jorge et al. 2022, section 4).
        """
        ball, length = self.grown(threat, moment)
        steps = self.attack_steps(moment.extra_steps)
        attacked = ascend(
            lambda moved: F.cross_entropy(model(moved), labels),
            images,
            random_noise(images, ball, moment.generator),
            ball,
            step_size=length * 2 / (steps + 1),
            steps=steps,
        )
        return (attacked,)
