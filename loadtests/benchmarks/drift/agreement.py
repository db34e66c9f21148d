"""What SciPy says of the same features, from all rows of both files, and who agrees with it.

F features checked
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from loadtests.benchmarks.drift.contestants import TORCHKEEP
from loadtests.benchmarks.drift.features import drifted, names_of
from monitoring.reference_bins import bins_of

OF_SHARES = ("kl", "jensen_shannon", "psi")
COMPARED = (*OF_SHARES, "wasserstein", "wasserstein_over_std", "ks")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far one contestant's values of one measure lie from SciPy's, at most.

    Of features that drifted, as a share of SciPy's value; of the others, absolutely.
    """

    name: str
    measure: str
    drifted_relative: float
    quiet_absolute: float


def by_scipy(files: Sequence[Path], features: int) -> dict[str, list[float]]:
    """Return SciPy's values of the first features; those of shares are over our bins."""
    values: dict[str, list[float]] = {name: [] for name in COMPARED}
    for name in names_of(features):
        one, other = (
            np.sort(pq.read_table(file, columns=[name]).column(name).to_numpy().astype(np.float64))
            for file in files
        )
        for measure, value in _by_scipy(one, other).items():
            values[measure].append(value)
    return values


def _by_scipy(one: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, float]:
    bins = bins_of(one)
    before, after = bins.counts(one) / len(one), bins.counts(other) / len(other)
    distance = float(stats.wasserstein_distance(one, other))
    kl = float(stats.entropy(after, before))
    return {
        "kl": kl,
        "wasserstein": distance,
        "wasserstein_over_std": distance / float(one.std()),
        "jensen_shannon": float(jensenshannon(before, after, base=2)),
        "psi": kl + float(stats.entropy(before, after)),
        "ks": float(stats.ks_2samp(one, other, method="asymp").statistic),
    }


def agreements(
    name: str, values: Mapping[str, Sequence[float]], scipy: Mapping[str, Sequence[float]]
) -> list[Agreement]:
    """Compare a contestant's values with SciPy's, for the measures and features both have.

    Distances of shares only for Torchkeep: others choose bins of their own.
    """
    found = []
    for measure in COMPARED:
        checked = min(len(values.get(measure, ())), len(scipy[measure]))
        if not checked or (measure in OF_SHARES and name != TORCHKEEP):
            continue
        theirs, true = np.array(values[measure][:checked]), np.array(scipy[measure][:checked])
        moved = np.array([drifted(number) for number in range(checked)])
        off = np.abs(theirs - true)
        found.append(
            Agreement(
                name,
                measure,
                float((off / true)[moved].max()) if moved.any() else np.nan,
                float(off[~moved].max()) if (~moved).any() else np.nan,
            )
        )
    return found
