"""The screened model as an attacker sees it who knows everything, with gradients.

An item is accepted if and only if no head's score is above the limit that the fused threshold means
for that head. Shapes: B batch, C H W an image, K classes, S heads, A activations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustness.fusion import Fusion
from robustness.heads import DetectorHead, SubsetScanHead
from robustness.screened_model import ScreenedModel

STEP = 0.1
"""How far, in deviations of the background, a table is read to either side for its slope."""
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Sight:
    """What the attacker reads of B images: logits B K, excess B S, activations B A.

    An excess above 0 is a head that alarms; it is in units of that head's spread on clean images.
    """

    logits: Tensor
    excess: Tensor
    activations: Tensor


class JointModel(nn.Module):
    """A `ScreenedModel` with a gradient through all that decides; `forward` gives the logits."""

    limits: Tensor
    spreads: Tensor

    def __init__(self, screened: ScreenedModel) -> None:
        super().__init__()
        self.screened = screened
        limits, spreads = torch.zeros(0), torch.zeros(0)
        if screened.fusion is not None:
            limits = head_limits(screened.fusion, aim_of(screened))
            spreads = screened.fusion.spread.flatten()
        self.register_buffer("limits", limits)
        self.register_buffer("spreads", spreads)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits: B C H W to B K."""
        return self._network(images)[1]

    def sight(self, images: Tensor) -> Sight:
        """Return everything there is to read of images B C H W, with gradients."""
        activations, logits = self._network(images)
        heads = self.screened.typed_heads()
        if not heads:
            return Sight(logits, logits.new_zeros(len(logits), 0), activations)
        scores = torch.stack([_score(head, activations, logits) for head in heads], dim=1)
        return Sight(logits, (scores - self.limits) / self.spreads, activations)

    def _network(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return activations (B A) and logits (B K), past any preprocessing."""
        if self.screened.preprocessing is not None:
            images = self.screened.preprocessing.stand_in(images)
        return self.screened.classifier.activations(images)

    def accepted(self, images: Tensor) -> Tensor:
        """Return which images (B) are served without a flag; what is not finite is flagged."""
        return self.fused_excess(images) <= 0

    @torch.no_grad()
    def fused_excess(self, images: Tensor) -> Tensor:
        """Return how far the served score is above the threshold: B; infinite where it failed."""
        screened = self.screened
        table = screened(images)
        score = table[:, len(screened.classes) + screened.projection.shape[1]]
        finite = torch.isfinite(table).all(1)
        return torch.where(finite, score - screened.threshold, torch.inf)


def aim_of(screened: ScreenedModel) -> float:
    """Return the first fused score to stay at or below: the threshold, or no second look at all."""
    look = screened.second_look
    return screened.threshold if look is None else min(screened.threshold, look.cutoff)


@torch.no_grad()
def head_limits(fusion: Fusion, threshold: float) -> Tensor:
    """Return for each head the largest score whose own part of the fused one is in limits: S.

    That part rises with the score: by a step behind each calibration score, and behind the last
    one without end.
    """
    calibration, count = fusion.calibration, fusion.calibration.shape[1]
    limits = []
    for row, largest, spread in zip(calibration, fusion.largest, fusion.spread, strict=True):
        at_or_above = count - torch.searchsorted(row, row)
        parts = -((1 + at_or_above) / (1 + count)).log()
        inside = row[parts <= threshold]
        limit = inside[-1] if len(inside) else row.new_tensor(-math.inf)
        beyond = largest.new_tensor(threshold - math.log(1 + count))
        if beyond >= 0:
            limit = (largest + spread * beyond.expm1()).squeeze()
        limits.append(limit)
    return torch.stack(limits)


def _score(head: DetectorHead, activations: Tensor, logits: Tensor) -> Tensor:
    """Return a head's score; one read from tables gets the slope of its table's neighbourhood."""
    if not isinstance(head, SubsetScanHead):
        return head.score(activations.clone(), logits)
    with torch.no_grad():
        real, slopes, chosen = _slopes(head, activations)
    scanned = activations[:, : len(head.background)]
    smooth = (scanned * slopes * chosen).sum(1)
    return real + smooth - smooth.detach()


def _slopes(head: SubsetScanHead, activations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the score (B), how fast each surprise rises, and which are in the subset (B A)."""
    step = STEP * head.background.std(1).clamp_min(_TINY)
    scanned = activations[:, : len(step)]
    up, down = (head.surprises(scanned + move) for move in (step, -step))
    slopes = ((up - down) / (2 * step[:, None])).T
    surprises = head.surprises(scanned).T
    ordered = surprises.sort(dim=1, descending=True).values
    real, best = (ordered * head.ranks).max(1, keepdim=True)
    return real.squeeze(1), slopes, (surprises >= ordered.gather(1, best)).to(slopes)
