"""The shape every served network has: `features`, then `head`.

Shapes: B batch, C H W an image, F penultimate features, K classes, A activations seen by detectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

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

    Images come in, activations and logits go out as float32, whatever `features` computes in.
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
        self._reduced = False

    def compute_in_bfloat16(self) -> None:
        """Turn the weights of `features` into bfloat16, for good: to evaluate, not to train."""
        self.features.bfloat16()
        self._reduced = True

    def forward(self, images: Tensor) -> Tensor:
        hidden = (
            self.features(images.bfloat16()).float() if self._reduced else self.features(images)
        )
        logits: Tensor = self.head(hidden)
        return logits

    @final
    def activations(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what detectors see (B A: pooled taps, then the features) and the logits (B K)."""
        taps, features = self._seen(images.bfloat16() if self._reduced else images)
        if self._reduced:
            taps, features = [tap.float() for tap in taps], features.float()
        return torch.cat([*taps, features], dim=1), self.head(features)

    def _seen(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the pooled taps (B c each) and the features (B F) of B C H W; a hook."""
        taps: list[Tensor] = []
        hidden = images
        for child, tapped in zip(self.features, self._tapped, strict=True):
            hidden = child(hidden)
            if tapped:
                taps += pool(hidden)
        return taps, hidden


def pool(hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and maximum per channel: B c h w to B c and B c; means in float32 at least."""
    precise = torch.promote_types(hidden.dtype, torch.float32)
    return hidden.mean((2, 3), dtype=precise), hidden.amax((2, 3))
