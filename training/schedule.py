"""How the learning rate and the radius of the attack go over a training."""

from __future__ import annotations


def triangular_rate(step: int, steps: int, peak: float, peak_at: float) -> float:
    """Return a learning rate that rises from 0 to `peak` and falls back to 0 (Smith 2017)."""
    rise = peak_at * steps
    share = step / rise if step < rise else (steps - step) / (steps - rise)
    return peak * share


def ramp(done: float, until: float) -> float:
    """Return how far a ramp has come: linear from 0, and 1 once the share `done` is at `until`."""
    return min(1.0, done / until) if until else 1.0
