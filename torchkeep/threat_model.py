"""What an attacker may do: the norm and radius of a perturbation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from torchkeep.errors import SettingsError

Epsilon = NewType("Epsilon", float)
"""Radius of a perturbation, in units of pixels scaled to 0..1."""


class Norm(StrEnum):
    """The norm that bounds a perturbation."""

    LINF = "linf"
    L2 = "l2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreatModel:
    """Perturbations of norm at most `eps` around an image with pixels in 0..1."""

    norm: Norm
    eps: Epsilon

    def __post_init__(self) -> None:
        if not 0 < self.eps < float("inf"):
            raise SettingsError(f"eps must be positive and finite, got {self.eps}")
        if self.norm is Norm.LINF and self.eps > 1:
            raise SettingsError(
                f"eps {self.eps:g} is more than a pixel's whole range",
                remedy="Pixels are in 0..1: write 8/255 as 0.0314.",
            )

    def __str__(self) -> str:
        return f"{self.norm} {self.eps:g}"
