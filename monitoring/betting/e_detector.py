"""Shiryaev-Roberts: the winnings of bets that could have begun at any item so far, added up.

With R(n) = (R(n-1) + 1) · e(n), and e-values whose mean is at most 1 given the past, R(n) - n does
not rise on average; so the average number of items until R ≥ A is at least A. The same holds of an
average of such statistics, dependent or not (Shin, Ramdas and Rinaldo 2024).

    N items, D bets
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rise(NamedTuple):
    """The statistic reached the threshold."""

    number: int
    bet: int
    """The one that won most."""
    statistic: float
    change_number: int
    """Where that bet's likeliest change is: since then it won most (Page's CUSUM)."""
    change_ns: int


class EDetector:
    """The running state of D bets: their statistics, and since when each has been winning."""

    def __init__(self, weights: NDArray[np.float64], threshold: float) -> None:
        """Begin with nothing won. `weights` D are together 1."""
        self._weights = weights
        self._threshold = threshold
        self.won = np.zeros(len(weights))
        self.cusum = np.zeros(len(weights))
        self.since = np.zeros(len(weights), dtype=np.int64)
        self.since_ns = np.zeros(len(weights), dtype=np.int64)

    @property
    def statistic(self) -> float:
        """The weighted average of the D statistics."""
        return float(self._weights @ self.won)

    def take(
        self, e_values: NDArray[np.float64], first: int, timestamp_ns: NDArray[np.int64]
    ) -> list[Rise]:
        """Take e-values N D of the items numbered from `first`; return where the threshold was met.

        After each of them everything begins again.
        """
        rises = []
        for at, paid in enumerate(e_values):
            self.won += 1
            self.won *= paid
            begins = self.cusum <= 1
            np.copyto(self.since, first + at, where=begins)
            np.copyto(self.since_ns, timestamp_ns[at], where=begins)
            np.maximum(self.cusum, 1, out=self.cusum)
            self.cusum *= paid
            if self._weights @ self.won >= self._threshold:
                rises.append(self._rise(first + at))
                self.won[:] = 0
                self.cusum[:] = 0
        return rises

    def _rise(self, number: int) -> Rise:
        bet = int(np.argmax(self._weights * self.won))
        return Rise(number, bet, self.statistic, int(self.since[bet]), int(self.since_ns[bet]))
