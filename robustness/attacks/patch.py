"""A patch: any pixels within one square of the image (Brown et al. 2017), found by ascent.

Shapes: B batch, C H W an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustness.attacks.apgd import Keeper
from robustness.attacks.attack import Attack
from robustness.attacks.losses import margin
from torchkeep.errors import SettingsError
from torchkeep.threat_model import PatchThreat


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch(Attack):
    """Signed ascent on the margin within a square at each of several places, drawn per image."""

    threat: PatchThreat
    places: int = 20
    steps: int = 30
    step_size: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.places, self.steps) < 1 or not 0 < self.step_size <= 1:
            raise SettingsError("a patch needs places and steps from 1, a step size above 0 to 1")

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        keeper = Keeper(images)
        for _ in range(self.places):
            left = keeper.left
            if not len(left):
                break
            mask = self._squares(images[left], generator)
            start = torch.rand(mask.shape[:1] + images.shape[1:], generator=generator).to(images)
            keeper.take(left, *self._fill(model, images[left], labels[left], mask, start))
        return keeper.images

    def _fill(
        self, model: nn.Module, images: Tensor, labels: Tensor, mask: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best filling of each square, its margin, and where that wins."""
        at = torch.where(mask, start, images)
        best, best_loss = at, torch.full_like(images[:, 0, 0, 0], -torch.inf)
        for step in range(self.steps + 1):
            at = at.detach().requires_grad_()
            with torch.enable_grad():
                loss = margin(model(at), labels)
                (gradient,) = torch.autograd.grad(loss.sum(), at)
            loss, at = loss.detach(), at.detach()
            better = loss > best_loss
            best = torch.where(better.view(-1, 1, 1, 1), at, best)
            best_loss = torch.where(better, loss, best_loss)
            size = self.step_size * (1 - step / (self.steps + 1))
            at = torch.where(mask, (at + size * gradient.sign()).clamp(0, 1), images)
        return best, best_loss, best_loss > 0

    def _squares(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return a square for each image, anywhere: B 1 H W, true inside."""
        count, _, height, width = images.shape
        side = self.threat.side(height, width)
        top = torch.randint(0, height - side + 1, (count, 1), generator=generator)
        left = torch.randint(0, width - side + 1, (count, 1), generator=generator)
        rows, columns = torch.arange(height), torch.arange(width)
        in_rows = (rows >= top) & (rows < top + side)
        in_columns = (columns >= left) & (columns < left + side)
        return (in_rows[:, :, None] & in_columns[:, None, :])[:, None].to(images.device)
