"""The skeleton of an objective: prepare a batch without weights' gradients, then its loss.

Shapes: B batch, C H W an image; pixels are in 0..1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor

from torchkeep.architectures import Classifier
from torchkeep.threat_model import ThreatModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a batch is learnt: the share of all steps done (above 0, at most 1), and its randomness.

    `extra_steps` are attack steps added after collapses.
    """

    done: float
    generator: torch.Generator
    extra_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Numbers of an objective and what it does with a batch; one name, one paper."""

    kind: ClassVar[str]
    source: ClassVar[str]

    def prepare(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        moment: Moment,
    ) -> tuple[Tensor, ...]:
        """Return what `loss` needs beside the labels, for example attacked twins of the images.

        `model` is the network itself, on this process alone. By default the images as they are.
        """
        return (images,)

    def loss(
        self,
        model: Classifier,
        prepared: tuple[Tensor, ...],
        labels: Tensor,
        threat: ThreatModel,
        done: float,
    ) -> Tensor:
        """Return the mean loss of the batch; its gradients are those of the training.

        By default the cross-entropy of what was prepared.
        """
        return F.cross_entropy(model(prepared[0]), labels)

    def attack_steps(self, extra: int) -> int:
        """Return how many attack steps a batch meets; 0 where it meets none."""
        return 0

    def warm_from(self) -> float:
        """Return the share of the training after which the objective is what it will stay."""
        return 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the kind and every number."""
        return {"kind": self.kind, **asdict(self)}
