"""Several heads, one score: the smallest conformal p-value decides (Tippett 1931).

Shapes: S heads, n calibration images (split A), B batch.
"""

from __future__ import annotations

from torch import Tensor, nn

from robustness.calibration import conformal_p_values

_TINY = 1e-6


class Fusion(nn.Module):
    """Fuses the scores of S heads (S B) by what clean images score on them (S n).

    One alarmed head is enough, and a head that sees nothing costs little. The fused score is
    max over heads of -ln p + overshoot. A p-value cannot fall below 1 / (n + 1), so beyond the
    largest calibration score the overshoot ln(1 + excess / spread) keeps the order; the spread is
    that largest score less the median.
    """

    calibration: Tensor
    largest: Tensor
    spread: Tensor

    def __init__(self, calibration: Tensor) -> None:
        super().__init__()
        ordered = calibration.sort(dim=1).values
        self.register_buffer("calibration", ordered)
        largest = ordered[:, -1:]
        spread = (largest - ordered.median(dim=1, keepdim=True).values).clamp_min(_TINY)
        self.register_buffer("largest", largest, persistent=False)
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the p-value of each head (S B) and the fused score (B)."""
        p_values = conformal_p_values(scores, self.calibration)
        overshoot = (scores - self.largest).clamp_min_(0).div_(self.spread).log1p_()
        return p_values, overshoot.sub_(p_values.log()).amax(0)
