"""How fast a model is served, measured while it is busy: what Retry-After is computed from."""

from __future__ import annotations

import math

TIME_CONSTANT_S = 10.0
LEAST_WAIT_S = 1.0
MOST_WAIT_S = 60.0


class ServiceRate:
    """Items a second over the time in which calls were under way, older times counting less."""

    def __init__(self) -> None:
        self._items = 0.0
        self._busy_s = 0.0

    def served(self, items: int) -> None:
        """Note that so many items were answered."""
        self._items += items

    def busy(self, seconds: float) -> None:
        """Note that calls were under way for so long."""
        kept = math.exp(-seconds / TIME_CONSTANT_S)
        self._items *= kept
        self._busy_s = self._busy_s * kept + seconds

    def wait_s(self, items: int) -> float:
        """Return how long so many waiting items will take, within reason."""
        if self._items <= 0 or self._busy_s <= 0:
            return LEAST_WAIT_S
        return min(MOST_WAIT_S, max(LEAST_WAIT_S, items * self._busy_s / self._items))
