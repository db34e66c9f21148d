"""What is usual, as a model: the rows of a reference, scaled, and how far from them is far.

Features and embedding together, each column in units of its deviation, features as a whole counting
like the embedding as a whole. The score is the mean distance to the nearest rows.

    N items, M reference rows, F columns of features, E columns of the embedding
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.conformal import MIN_CALIBRATION, conformal_p_values, divided
from monitoring.nearness import least_deviations, mean_distance
from monitoring.reference import Reference
from monitoring.window import Window

EMBEDDING = "embedding"
_FARTHEST = 1e9
"""Deviations beyond which farther is no farther, so that distances stay finite."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns both sides have: named features, and the embedding or not."""

    features: NDArray[np.int64]
    embedding: bool
    left_out: dict[str, str]
    """The others, and why."""

    def of(self, rows: Reference | Window) -> NDArray[np.float64]:
        """Return the columns: N F+E."""
        features = rows.features[:, self.features]
        if not self.embedding:
            return features
        return np.concatenate([features, rows.embedding], axis=1, dtype=np.float64)


def columns_of(reference: Reference, window: Window) -> Columns:
    """Return the columns that can be compared: mostly whole in the reference, and in the window."""
    left_out: dict[str, str] = {}
    kept = []
    for at, name in enumerate(reference.feature_names):
        fault = _fault(reference.features[:, [at]], window.features[:, [at]])
        if fault:
            left_out[name] = fault
        else:
            kept.append(at)
    fault = _fault(reference.embedding, window.embedding)
    if fault:
        left_out[EMBEDDING] = fault
    return Columns(np.array(kept, dtype=np.int64), not fault, left_out)


def _fault(known: NDArray[np.floating], seen: NDArray[np.floating]) -> str:
    """Say why columns of the reference and the window cannot be compared: "" if they can."""
    if known.shape[1] == 0 or known.shape[1] != seen.shape[1]:
        return "not in the reference" if known.shape[1] == 0 else "of another size in the window"
    if np.isfinite(known).all(axis=1).sum() * 2 < max(1, len(known)):
        return "NaN in most rows of the reference"
    if len(seen) and not np.isfinite(seen).all(axis=1).any():
        return "NaN in every item of the window"
    return ""


@dataclass(frozen=True, slots=True)
class NoveltyModel:
    """Scaled rows of the reference to compare with, and sorted scores of others to calibrate on."""

    centre: NDArray[np.float64]  # F + E, medians
    deviation: NDArray[np.float64]  # F + E
    weight: NDArray[np.float64]  # F + E
    known: NDArray[np.float64]  # M F+E, scaled
    calibration: NDArray[np.float64]  # sorted
    neighbours: int

    @classmethod
    def fit(
        cls, reference: Reference, columns: Columns, *, level: float, neighbours: int, seed: int
    ) -> NoveltyModel | None:
        """Fit on the whole rows of a reference.

        None if there are too few of them for a p-value to reach `level`.
        """
        rows = columns.of(reference)
        rows = rows[np.isfinite(rows).all(axis=1)]
        fit, rest = divided(len(rows), seed)
        if len(rest) < max(MIN_CALIBRATION, 1 / level - 1) or rows.shape[1] == 0:
            return None
        centre = np.median(rows[fit], axis=0)
        deviation = np.maximum(rows[fit].std(axis=0), least_deviations(centre))
        named = len(columns.features)
        others = rows.shape[1] - named
        weight = np.concatenate(
            [np.full(named, 1 / max(1, named)), np.full(others, 1 / max(1, others))]
        )
        unfitted = cls(centre, deviation, np.sqrt(weight), rows[:0], rows[:0, 0], neighbours)
        known = unfitted.scaled(rows[fit])
        scores = mean_distance(unfitted.scaled(rows[rest]), known, neighbours)
        return cls(centre, deviation, np.sqrt(weight), known, np.sort(scores), neighbours)

    def deviations(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how many deviations each value of rows N F+E lies from the median."""
        with np.errstate(over="ignore"):
            found = (rows - self.centre) / self.deviation
        return np.asarray(found.clip(-_FARTHEST, _FARTHEST))

    def scaled(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rows N F+E in units in which distances are taken."""
        return self.deviations(rows) * self.weight

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scores N of rows N F+E: higher is more novel."""
        return mean_distance(self.scaled(rows), self.known, self.neighbours)

    def p_values(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the conformal p-values N of scores N."""
        return conformal_p_values(self.calibration, scores)
