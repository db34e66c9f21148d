"""What a preprocessing defence is: a module before the classifier, with a gradient for attackers.

Shapes: B batch, C H W an image; pixels are in 0..1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from torchkeep.errors import TorchkeepError


class Preprocessing(nn.Module, ABC):
    """Changes images before a classifier sees them, each by itself, whatever its neighbours.

    An image with a pixel that is not finite becomes not finite as a whole: nobody can judge it.
    """

    kind: ClassVar[str]
    random: ClassVar[bool] = False
    """Whether it draws: an attacker then takes the expectation over draws."""
    differentiable: ClassVar[bool] = False
    """Whether its own gradient is of use to an attacker."""

    def forward(self, images: Tensor, draw: int = 0) -> Tensor:
        """Return B C H W preprocessed; `draw` picks the random draw, 0 is what is served.

        Raises `TorchkeepError` if a gradient is to pass where there is none: an attack would fail
        for that reason alone, and its number would be no robustness.
        """
        if images.requires_grad and torch.is_grad_enabled() and not self.differentiable:
            raise TorchkeepError(f"{self.kind} masks the gradient: attack `Defended` instead")
        finite = torch.isfinite(images).flatten(1).all(1).view(-1, 1, 1, 1)
        changed = self.change(torch.where(finite, images, 0).clamp(0, 1), draw)
        return torch.where(finite, changed, torch.nan)

    @final
    def stand_in(self, images: Tensor, draw: int = 0) -> Tensor:
        """Return what `forward` does, with a gradient: its own, or that of the identity.

        Backward pass differentiable approximation (Athalye et al. 2018, section 4.1).
        """
        if self.differentiable:
            result: Tensor = self(images, draw)
            return result
        passed: Tensor = _Identity.apply(images, lambda x: self(x, draw))  # type: ignore[no-untyped-call]
        return passed

    @abstractmethod
    def change(self, images: Tensor, draw: int) -> Tensor:
        """Return finite images in 0..1 preprocessed; hook of the concrete defence."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return what `build_preprocessing` needs to build it again."""


class _Identity(torch.autograd.Function):
    """Some function forward, the identity backward."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(images.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None
