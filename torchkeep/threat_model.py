"""What an attacker may do: the norm and radius of a perturbation, or a patch to write on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from torchkeep.errors import SettingsError

Epsilon = NewType("Epsilon", float)
"""Radius of a perturbation, in units of pixels scaled to 0..1."""

SMALLEST = 2.0**-126
"""The smallest normal float32, 1.18e-38: of less, squares and quotients are mere rounding."""
PATCH = "patch"
WRITE_THUS = "Write linf:0.3, l2:2, l1:10 or patch:0.05; pixels are in 0..1, 8/255 is 0.0314."


class Norm(StrEnum):
    """The norm that bounds a perturbation."""

    LINF = "linf"
    L2 = "l2"
    L1 = "l1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreatModel:
    """Perturbations of norm at most `eps` around an image with pixels in 0..1."""

    norm: Norm
    eps: Epsilon

    def __post_init__(self) -> None:
        if not 0 < self.eps < float("inf"):
            raise SettingsError(f"eps must be positive and finite, got {self.eps}")
        if self.eps < SMALLEST:
            raise SettingsError(
                f"eps {self.eps:g} is less than float32 can reckon with",
                remedy=f"Give {SMALLEST:.3g} or more; pixels are in 0..1.",
            )
        if self.norm is Norm.LINF and self.eps > 1:
            raise SettingsError(
                f"eps {self.eps:g} is more than a pixel's whole range",
                remedy="Pixels are in 0..1: write 8/255 as 0.0314.",
            )

    def __str__(self) -> str:
        return f"{self.norm} {self.eps:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchThreat:
    """Any pixels within one square, anywhere, that covers at most `share` of the image's area."""

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise SettingsError(
                f"a patch of {self.share:g} of the image", remedy="Give a share above 0, up to 1."
            )

    def side(self, height: int, width: int) -> int:
        """Return the side of the square in pixels, at least 1."""
        return max(1, min(height, width, int((self.share * height * width) ** 0.5)))

    def __str__(self) -> str:
        return f"{PATCH} {self.share:g}"


Threat = ThreatModel | PatchThreat


def parse_threat(text: str) -> Threat:
    """Read a threat as people write it, such as `linf:0.3`, or as `str` gives it.

    Raises `SettingsError`.
    """
    kind, _, number = text.strip().lower().replace(" ", ":").partition(":")
    try:
        size = float(number)
        if kind == PATCH:
            return PatchThreat(share=size)
        return ThreatModel(norm=Norm(kind), eps=Epsilon(size))
    except ValueError as error:
        raise SettingsError(f"{text!r} is no threat model", remedy=WRITE_THUS) from error
