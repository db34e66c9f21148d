"""Seeds made of several numbers, so that each step of each process has a random stream of its own.

Nothing random is carried from step to step: a training that is resumed, on as many processes,
draws what it would have drawn.
"""

from __future__ import annotations

import numpy as np

_BITS = 63


def mixed(*parts: int) -> int:
    """Return a seed (0 to 2^63 - 1) that depends on every one of `parts` (each 0 or more)."""
    (state,) = np.random.SeedSequence(parts).generate_state(1, np.uint64).tolist()
    seed: int = state & (2**_BITS - 1)
    return seed
