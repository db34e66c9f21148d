"""Adversarial training with projected gradient descent (Madry et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor

from robustness.attacks.perturbation import random_start
from torchkeep.architectures import Classifier
from torchkeep.threat_model import ThreatModel
from training.modes import evaluating
from training.objectives.adversarial import Adversarial
from training.objectives.ascent import ascend
from training.objectives.objective import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class PGDAT(Adversarial):
    """Learns each batch at the end of `steps` PGD steps of length `step_size`."""

    kind: ClassVar[str] = "pgd_at"
    source: ClassVar[str] = (
        "Madry, Makelov, Schmidt, Tsipras, Vladu 2018, Towards Deep Learning Models Resistant to "
        "Adversarial Attacks, section 2.1"
    )

    def prepare(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        moment: Moment,
    ) -> tuple[Tensor, ...]:
        ball, length = self.grown(threat, moment)
        with evaluating(model):
            attacked = ascend(
                lambda moved: F.cross_entropy(model(moved), labels, reduction="sum"),
                images,
                random_start(images, ball, moment.generator),
                ball,
                step_size=length,
                steps=self.attack_steps(moment.extra_steps),
            )
        return (attacked,)
