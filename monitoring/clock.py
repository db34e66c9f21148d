"""How far the clocks of several machines may be apart before a time is taken for wrong."""

from __future__ import annotations

CLOCK_TOLERANCE_NS = 5 * 60 * 1_000_000_000
