"""How many records a second strangers, callers without a valid key, may cause.

They are refused at no cost to themselves; without a bound they would fill the disk, and with
`on_full = refuse` end the service. What is withheld is counted here, and each in the metrics.
"""

from __future__ import annotations

import time

BURST_S = 30.0
"""Records of so many seconds may come at once."""


class StrangerCap:
    """A token bucket; `withheld` counts the records it kept out since they were last told of."""

    def __init__(self, per_second: float) -> None:
        self.withheld = 0
        self._rate = per_second
        self._most = max(1.0, per_second * BURST_S)
        self._left = self._most
        self._at = time.monotonic()

    def admits(self) -> bool:
        """Take a record's place; where there is none, count the record as withheld."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            self.withheld += 1
            return False
        self._left -= 1
        return True

    def told(self) -> int:
        """Return how many were withheld, and begin to count anew."""
        withheld, self.withheld = self.withheld, 0
        return withheld
