"""Square: random search that asks for scores and no gradient (Andriushchenko et al. 2020).

Shapes: B batch, C H W an image, s the side of a square. All images of a batch are asked with a
square at the same place, as in AutoAttack's own code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustness.attacks.attack import Attack
from robustness.attacks.losses import margin
from robustness.attacks.perturbation import project
from torchkeep.errors import SettingsError
from torchkeep.threat_model import Norm, ThreatModel

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which the share of changed pixels is halved (section 4; not rescaled to a smaller
budget, as in standard AutoAttack)."""
_TINY = 1e-12

Score = Callable[[Tensor, Tensor], Tensor]
"""Of images B C H W and their places in the batch (B): B, above 0 where the attack has won."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Square(Attack):
    """Square attack on the margin; `share` is that of the pixels that a first square changes."""

    threat: ThreatModel
    queries: int = 5000
    share: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.queries < 1 or not 0 < self.share <= 1:
            raise SettingsError("Square needs 1 or more queries and a share above 0, up to 1")

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        def score(asked: Tensor, places: Tensor) -> Tensor:
            return margin(model(asked), labels[places])

        found, _ = square_search(
            images, score, self.threat, queries=self.queries, share=self.share, seed=self.seed
        )
        return found


@torch.no_grad()
def square_search(
    images: Tensor, score: Score, threat: ThreatModel, *, queries: int, share: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the point with the highest score of each image, and the queries it took (B).

    An image whose score is above 0 is not asked again.
    """
    generator = torch.Generator().manual_seed(seed)
    best = _stripes(images, threat, generator)
    everything = torch.arange(len(images), device=images.device)
    scores = score(best, everything) if len(images) else images.new_zeros(0)
    asked = torch.ones_like(everything)
    for query in range(1, queries):
        left = torch.nonzero(scores <= 0).flatten()
        if not len(left):
            break
        part = share_at(share, query)
        tried = _proposal(images[left], best[left], threat, part, generator)
        found = score(tried, left)
        asked[left] += 1
        better = found > scores[left]
        best[left[better]] = tried[better]
        scores[left[better]] = found[better]
    return best, asked


def share_at(share: float, query: int) -> float:
    """Return the share of pixels that the square of a query changes."""
    halvings: int = sum(query > limit for limit in HALVINGS)
    return share * 0.5**halvings


def _stripes(images: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Return the starts: vertical stripes in Linf, a pattern of tiles else."""
    count, channels, height, width = images.shape
    if threat.norm is Norm.LINF:
        signs = _signs((count, channels, 1, width), images, generator)
        return (images + threat.eps * signs).clamp(0, 1)
    side = max(1, min(height, width) // 5)
    pattern = torch.zeros_like(images)
    first = (height - side * (height // side)) // 2
    for row in range(first, height - side + 1, side):
        for column in range(first, width - side + 1, side):
            tile = _slope(side, images, generator) * _signs(
                (count, channels, 1, 1), images, generator
            )
            pattern[:, :, row : row + side, column : column + side] += tile
    return _inside(images, pattern * (threat.eps / _length(pattern, threat.norm)), threat)


def _proposal(
    images: Tensor, best: Tensor, threat: ThreatModel, share: float, generator: torch.Generator
) -> Tensor:
    _, channels, height, width = images.shape
    side = max(1, round(math.sqrt(share * height * width)))
    if threat.norm is Norm.LINF:
        side = min(side, height, width)
        rows, columns = _window(side, height, width, generator)
        tried = best.clone()
        sign = _signs((1, channels, 1, 1), images, generator)
        window = images[:, :, rows, columns] + threat.eps * sign
        tried[:, :, rows, columns] = window.clamp(0, 1)
        return tried
    side = max(3, side)
    side = min(side + 1 - side % 2, height, width)
    return _moved_mass(images, best, threat, side, generator)


def _moved_mass(
    images: Tensor, best: Tensor, threat: ThreatModel, side: int, generator: torch.Generator
) -> Tensor:
    """Take the norm from one window, and what the radius has left, to another (algorithm 3)."""
    count, channels, height, width = images.shape
    norm, power = threat.norm, 2 if threat.norm is Norm.L2 else 1
    delta = best - images
    here, there = (_window(side, height, width, generator) for _ in range(2))
    mask = torch.zeros((1, 1, height, width), dtype=torch.bool, device=images.device)
    mask[:, :, here[0], here[1]] = True
    mask[:, :, there[0], there[1]] = True
    within_windows = _length(delta * mask, norm, of_channels=True) ** power
    unused = (threat.eps**power - _length(delta, norm) ** power).clamp_min(0)
    old = delta[:, :, here[0], here[1]]
    old = old / (_length(old, norm, of_channels=True) + _TINY)
    new = old + _slope(side, images, generator) * _signs((count, channels, 1, 1), images, generator)
    budget = (unused / channels + within_windows) ** (1 / power)
    new = new / (_length(new, norm, of_channels=True) + _TINY) * budget
    delta[:, :, there[0], there[1]] = 0
    delta[:, :, here[0], here[1]] = new
    if norm is Norm.L2:
        delta = delta * (threat.eps / (_length(delta, norm) + _TINY))
    return _inside(images, delta, threat)


def _inside(images: Tensor, delta: Tensor, threat: ThreatModel) -> Tensor:
    return (images + project(images, delta, threat)).clamp(0, 1)


def _length(values: Tensor, norm: Norm, *, of_channels: bool = False) -> Tensor:
    order = 2 if norm is Norm.L2 else 1
    start = 2 if of_channels else 1
    lengths = torch.linalg.vector_norm(values.flatten(start), order, dim=-1)
    spread: Tensor = lengths.view(*lengths.shape, *([1] * (4 - lengths.ndim)))
    return spread


def _slope(side: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """Return two opposed hills as one tile of L2 length 1 (section 3.4, eta): 1 1 s s."""
    tile = torch.zeros(side, side)
    tile[: side // 2] = _hill(side // 2, side)
    tile[side // 2 :] = -_hill(side - side // 2, side)
    tile = tile / tile.norm().clamp_min(_TINY)
    if torch.rand(1, generator=generator) > 0.5:
        tile = tile.T
    shown: Tensor = tile.to(images)[None, None]
    return shown


def _hill(height: int, width: int) -> Tensor:
    """Return rectangles around a middle, each lower than the one inside it."""
    hill = torch.zeros(height, width)
    top, left = height // 2, width // 2
    for ring in range(max(height, width) // 2 + 1):
        span = 2 * ring + 1
        rows = slice(max(top, 0), min(top + span, height))
        columns = slice(max(left, 0), min(left + span, width))
        hill[rows, columns] += 1 / (ring + 1) ** 2
        top, left = top - 1, left - 1
    scaled: Tensor = hill / hill.norm().clamp_min(_TINY)
    return scaled


def _window(side: int, height: int, width: int, generator: torch.Generator) -> tuple[slice, slice]:
    row = int(torch.randint(0, height - side + 1, (1,), generator=generator))
    column = int(torch.randint(0, width - side + 1, (1,), generator=generator))
    return slice(row, row + side), slice(column, column + side)


def _signs(shape: tuple[int, ...], images: Tensor, generator: torch.Generator) -> Tensor:
    return (torch.randint(0, 2, shape, generator=generator) * 2 - 1).to(images)
