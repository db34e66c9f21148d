"""Follows scored items: compares them with the bag, bets, and lets them join it block by block.

An item is compared with those of the blocks before its own; a block is small beside the bag.

    N items, S scores, K classes
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitoring.betting.alarm import SequentialConfig
from monitoring.betting.bag import Bag
from monitoring.betting.bets import class_bets, score_bets, weights
from monitoring.betting.e_detector import EDetector, Rise

_SPLITMIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class Follower:
    """A stream's state. What comes of it does not depend on the portions the items come in."""

    def __init__(
        self,
        scores: NDArray[np.float32],
        predicted: NDArray[np.int64],
        *,
        classes: int,
        config: SequentialConfig,
    ) -> None:
        """Begin with the reference's scores M S and predicted classes M."""
        self._config = config
        self.bag = Bag(scores, predicted, classes=classes, memory=config.memory)
        self.detector = EDetector(
            weights(scores.shape[1], classes), float(config.average_run_length)
        )
        self.pending = scores[:0]
        self.pending_predicted = predicted[:0]
        self.risen = False
        """Whether there was an alarm in the block that is under way: it will not join the bag."""
        self.judged = 0

    def take(
        self,
        scores: NDArray[np.float32],
        predicted: NDArray[np.int64],
        timestamp_ns: NDArray[np.int64],
    ) -> list[Rise]:
        """Take items in order: scores N S, all finite, and predicted classes N."""
        rises = []
        start = 0
        while start < len(scores):
            stop = start + self._config.block - len(self.pending)
            part = slice(start, stop)
            rises += self._bet(scores[part], predicted[part], timestamp_ns[part])
            start = stop
        return rises

    def _bet(
        self,
        scores: NDArray[np.float32],
        predicted: NDArray[np.int64],
        timestamp_ns: NDArray[np.int64],
    ) -> list[Rise]:
        ties = uniforms(self._config.seed, self.judged, (len(scores), scores.shape[1] + 1))
        p_values = self.bag.p_values(scores, ties[:, :-1])
        of_classes = self.bag.class_p_values(predicted, ties[:, -1])
        paid = [score_bets(p_values), class_bets(of_classes, self.bag.class_shares())]
        rises = self.detector.take(np.concatenate(paid, axis=1), self.judged + 1, timestamp_ns)
        self.judged += len(scores)
        self.risen |= bool(rises)
        self.pending = np.concatenate([self.pending, scores])
        self.pending_predicted = np.concatenate([self.pending_predicted, predicted])
        if len(self.pending) == self._config.block:
            self._end_block()
        return rises

    def _end_block(self) -> None:
        if not self.risen:  # what raised an alarm must not become what is usual
            self.bag.add(self.pending, self.pending_predicted)
        self.pending, self.pending_predicted = self.pending[:0], self.pending_predicted[:0]
        self.risen = False


def uniforms(seed: int, first: int, shape: Sequence[int]) -> NDArray[np.float64]:
    """Return numbers in (0, 1), N times a row; row n depends on seed and `first` + n alone.

    SplitMix64 (Steele, Lea and Flood 2014) of a counter: a stream that goes on in the middle needs
    no state but the count.
    """
    rows, columns = shape
    counter = np.arange(first * columns, (first + rows) * columns, dtype=np.uint64)
    gamma, one, two = map(np.uint64, _SPLITMIX)
    mixed = (counter + np.uint64(1)) * gamma ^ np.uint64(seed * _SPLITMIX[2] % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * one
    mixed = (mixed ^ (mixed >> np.uint64(27))) * two
    mixed ^= mixed >> np.uint64(31)
    return ((mixed >> np.uint64(12)).astype(np.float64) + 0.5).reshape(rows, columns) / 2**52
