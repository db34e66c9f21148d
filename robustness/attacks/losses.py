"""What an attack raises, per image. Shapes: B batch, K classes."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor

_TINY = 1e-12

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of logits B K and labels B: B, higher is worse for the model."""


class LossName(StrEnum):
    """The losses of Auto-PGD."""

    CE = "ce"
    DLR = "dlr"


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest other logit less the label's: above 0 where the model is wrong."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - own


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the difference of logits ratio (Croce and Hein 2020, equation 6); K from 3."""
    ordered = logits.sort(dim=1).values
    return margin(logits, labels) / (ordered[:, -1] - ordered[:, -3] + _TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the targeted ratio (Croce and Hein 2020, equation 7); K from 4."""
    ordered = logits.sort(dim=1).values
    rise = (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)
    return rise / (ordered[:, -1] - (ordered[:, -3] + ordered[:, -4]) / 2 + _TINY)


LOSSES = {LossName.CE: cross_entropy, LossName.DLR: dlr}


def likely_targets(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the most likely classes but for the label, the likeliest first: B count."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.topk(min(count, logits.shape[1] - 1), dim=1).indices
