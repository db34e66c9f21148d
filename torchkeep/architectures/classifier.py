"""The shape every served network has: `features`, then `head`.

Shapes: B batch, C H W an image, F penultimate features, K classes, A activations seen by detectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Subtract a mean and divide by a standard deviation, both per channel: B C H W to B C H W."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class Classifier(nn.Module):
    """A network in two steps: `features` (B C H W in 0..1 to B F), then `head` (B F to B K).

    `taps` names children of `features` whose outputs (B c h w) detectors see as well, pooled to
    their mean and maximum per channel: perturbations that adversarial training smooths away before
    the penultimate layer still show in the first ones.
    """

    def __init__(self, features: nn.Sequential, head: nn.Linear, taps: Sequence[str] = ()) -> None:
        super().__init__()
        unknown = set(taps) - {name for name, _ in features.named_children()}
        if unknown:
            raise ValueError(f"taps that are no children of features: {sorted(unknown)}")
        self.features = features
        self.head = head
        self.taps = tuple(taps)
        self._tapped = tuple(name in self.taps for name, _ in features.named_children())

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits

    def activations(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what detectors see (B A: pooled taps, then the features) and the logits (B K)."""
        seen: list[Tensor] = []
        hidden = images
        for child, tapped in zip(self.features, self._tapped, strict=True):
            hidden = child(hidden)
            if tapped:
                seen += [hidden.mean((2, 3)), hidden.amax((2, 3))]
        return torch.cat([*seen, hidden], dim=1), self.head(hidden)
