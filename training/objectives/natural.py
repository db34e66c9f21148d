"""Natural training: the cross-entropy of the images as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor

from torchkeep.architectures import Classifier
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel
from training.objectives.objective import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Natural(Objective):
    """Empirical risk minimisation; `label_smoothing` as in Szegedy et al. 2016."""

    kind: ClassVar[str] = "natural"
    source: ClassVar[str] = "Goodfellow, Bengio, Courville 2016, Deep Learning, section 8.1"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise SettingsError(
                f"label_smoothing is {self.label_smoothing}", remedy="Give 0 to below 1."
            )

    def loss(
        self,
        model: Classifier,
        prepared: tuple[Tensor, ...],
        labels: Tensor,
        threat: ThreatModel,
        done: float,
    ) -> Tensor:
        return F.cross_entropy(model(prepared[0]), labels, label_smoothing=self.label_smoothing)
