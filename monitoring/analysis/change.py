"""When did it change? The largest CUSUM of ranks (Pettitt 1979), its p-value by permutation.

N items in the order of time, P permutations
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from monitoring.analysis.config import DriftConfig
from monitoring.drift_report import ChangeMoment
from monitoring.window import Window

_PERMUTATIONS = 499
_MAX_ROWS = 2000


def change_moment(window: Window, feature: str, config: DriftConfig) -> ChangeMoment | None:
    """Return where a feature changed most within the window; None if it has too few values.

    The p-value is small if it did change within it, rather than before. Of many items, evenly
    spaced ones are looked at, so the moment is that much less exact.
    """
    values = window.features[:, window.feature_names.index(feature)]
    order = np.argsort(window.timestamp_ns, kind="stable")
    order = order[np.isfinite(values[order])]
    if len(order) < config.min_rows:
        return None
    if len(order) > _MAX_ROWS:
        order = order[np.linspace(0, len(order) - 1, _MAX_ROWS).astype(int)]
    ranks = rankdata(values[order])
    centred = ranks - ranks.mean()
    draw = np.random.default_rng(config.seed)
    shuffled = draw.permuted(np.tile(centred, (_PERMUTATIONS, 1)), axis=1)
    before = int(np.abs(np.cumsum(centred)[:-1]).argmax()) + 1
    largest = _largest(centred[None])[0]
    extreme = int((_largest(shuffled) >= largest - 1e-9).sum())
    moment = int(window.timestamp_ns[order[before]])
    return ChangeMoment(
        timestamp_ns=moment,
        rows_before=int((window.timestamp_ns < moment).sum()),
        feature=feature,
        p_value=(1 + extreme) / (1 + _PERMUTATIONS),
    )


def _largest(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest CUSUM of each row, P."""
    return np.asarray(np.abs(np.cumsum(centred, axis=1)[:, :-1]).max(axis=1))
