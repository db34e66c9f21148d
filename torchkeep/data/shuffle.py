"""A seeded order that stays the same on every machine and with every version of NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shuffled(count: int, seed: int) -> NDArray[np.int64]:
    """Return 0 .. count - 1 in an order that depends on `seed` alone.

    Drawn from the raw PCG64 stream, which NumPy promises never to change; it makes no such promise
    for `Generator.permutation`.
    """
    keys = np.random.PCG64(seed).random_raw(count)
    return np.argsort(keys, kind="stable").astype(np.int64)
