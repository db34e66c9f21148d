"""The bag: the scores an item is compared with, the reference's and the stream's latest.

Were it the reference alone, p-values would not be uniform given that reference, and a long stream
would find out. With the items that went before in the bag they are, in the limit of blocks of one
item exactly so and independent of each other (Vovk 2021). A bag of everything would grow for ever;
this one forgets the oldest of the stream.

    M reference rows, N items, S scores, K classes
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitoring.conformal import conformal_p_values


class Bag:
    """Scores and predicted classes of the reference and of the latest items of the stream."""

    def __init__(
        self,
        scores: NDArray[np.float32],
        predicted: NDArray[np.int64],
        *,
        classes: int,
        memory: int,
    ) -> None:
        """Fill it with the reference's: scores M S, predicted M."""
        self._classes = classes
        self._memory = memory
        self.recent = scores[:0]
        self.recent_predicted = predicted[:0]
        self._sorted = np.sort(scores.T, axis=1)  # S, M and the recent
        self._counts = np.bincount(predicted, minlength=classes)

    def add(self, scores: NDArray[np.float32], predicted: NDArray[np.int64]) -> None:
        """Add items of the stream: scores N S, predicted N. The oldest may have to go."""
        everything = np.concatenate([self.recent, scores])
        classes = np.concatenate([self.recent_predicted, predicted])
        first = max(0, len(everything) - self._memory)
        columns = zip(self._sorted, everything[:first].T, scores.T, strict=True)
        # to sort anew at each block would take most of the time there is
        self._sorted = np.stack([exchanged(*column) for column in columns])
        self._counts = self._counts + np.bincount(predicted, minlength=self._classes)
        self._counts -= np.bincount(classes[:first], minlength=self._classes)
        self.recent, self.recent_predicted = everything[first:], classes[first:]

    def p_values(
        self, scores: NDArray[np.float32], ties: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the p-values N S of scores N S; small where a score is large.

        `ties` (N S, uniform in 0..1) break ties.
        """
        pairs = zip(self._sorted, scores.T, ties.T, strict=True)
        return np.column_stack([conformal_p_values(*pair) for pair in pairs])

    def class_p_values(
        self, predicted: NDArray[np.int64], ties: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return p-values N K; small in the column of the class that was predicted.

        The score behind column k is 1 for class k and 0 for the others. `ties` is N.
        """
        mine = self._counts
        others = mine.sum() - mine
        broken = ties[:, None]
        hit = predicted[:, None] == np.arange(self._classes)
        p = np.where(hit, broken * (mine + 1), mine + broken * (others + 1))
        return np.asarray(p / (mine.sum() + 1))

    def class_shares(self) -> NDArray[np.float64]:
        """Return the share K of each predicted class in the bag, never quite 0 or 1."""
        return np.asarray((self._counts + 0.5) / (self._counts.sum() + 1))


def exchanged(
    ordered: NDArray[np.float32], old: NDArray[np.float32], new: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return sorted numbers with new ones put in, and then old ones, which are there, taken out."""
    new, old = np.sort(new), np.sort(old)
    ordered = np.insert(ordered, np.searchsorted(ordered, new), new)
    among_equals = np.arange(len(old)) - np.searchsorted(old, old)
    return np.delete(ordered, np.searchsorted(ordered, old) + among_equals)
