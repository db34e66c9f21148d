"""Bets against uniform p-values: functions of p whose mean is 1 if p is uniform.

What a bet pays is an e-value: on average 1 or less as long as nothing changes. A bet that guesses
the change right wins at a rate; several guesses are made, and their winnings averaged.

    N items, S scores, K classes, D bets
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_LEAST = 1e-12
_LARGER = 3.0
"""A class bet on is guessed to come so many times as often, or as seldom."""


def _power(exponent: float) -> Callable[[Values], Values]:
    """Bet on small p: the density of Beta(exponent, 1); Vovk and Wang 2021 call it a calibrator."""
    return lambda p: np.asarray(exponent * p ** (exponent - 1))


def _ends(p: Values) -> Values:
    """Bet on p near 0 or 1, on scores that spread: the density of Beta(1/2, 1/2)."""
    return np.asarray(1 / (np.pi * np.sqrt(p * (1 - p))))


_EXPONENTS = (0.3, 0.55, 0.8)
_ON_SMALL_P: tuple[Callable[[Values], Values], ...] = (*map(_power, _EXPONENTS), _ends)
_ON_LARGE_P: tuple[Callable[[Values], Values], ...] = tuple(map(_power, _EXPONENTS))
BETS_A_SCORE = len(_ON_SMALL_P) + len(_ON_LARGE_P)


def score_bets(p_values: Values) -> Values:
    """Return what the bets on p-values N S pay: N (S × bets a score), those of a score together."""
    p = np.clip(p_values, _LEAST, 1 - _LEAST)
    paid = [bet(p) for bet in _ON_SMALL_P] + [bet(1 - p) for bet in _ON_LARGE_P]
    return np.stack(paid, axis=2).reshape(len(p), -1)


def class_bets(p_values: Values, shares: Values) -> Values:
    """Return what the bets on classes pay, N 2K: first on more of each class, then on less.

    `p_values` is N K, `shares` K: what share each class had before.
    """
    first = p_values <= shares
    paid = [
        np.where(first, times, 1.0) / (1 + (times - 1) * shares) for times in (_LARGER, 1 / _LARGER)
    ]
    return np.concatenate(paid, axis=1)


def witnesses(scores: Sequence[str], classes: Sequence[str]) -> list[tuple[str, bool]]:
    """Return of each of the D bets what it is about, and whether it is on a rise."""
    rises = [True] * len(_ON_SMALL_P) + [False] * len(_ON_LARGE_P)
    named = [f"class {name}" for name in classes]
    return (
        [(score, rise) for score in scores for rise in rises]
        + [(name, True) for name in named]
        + [(name, False) for name in named]
    )


def weights(scores: int, classes: int) -> Values:
    """Return the weights D of the bets, together 1: each score counts like all classes together."""
    each = np.full(scores * BETS_A_SCORE, 1 / BETS_A_SCORE)
    of_classes = np.full(2 * classes, 1 / (2 * classes))
    return np.concatenate([each, of_classes]) / (scores + 1)
