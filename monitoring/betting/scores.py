"""Scores that say how unusual an item is, each in its own way, from a window's columns.

A score is a function of its own row alone, bit for bit: which items come together in a window must
not decide about anything.

    N items, M reference rows, S scores, F features, E embedding dimensions
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from monitoring.conformal import MIN_CALIBRATION, divided
from monitoring.features import MODEL_FEATURES
from monitoring.nearness import least_deviations, mean_distance
from monitoring.reference import Reference
from monitoring.window import Window
from torchkeep.errors import UserError

Rows = Reference | Window
Values = NDArray[np.float64]


class Score(StrEnum):
    """What is measured of an item."""

    BRIGHTNESS = "brightness"  # mean of the pixels
    CONTRAST = "contrast"  # their standard deviation
    SHARPNESS = "sharpness"
    PHOTOMETRIC = "photometric"  # Mahalanobis distance of all features of the image
    EMBEDDING = "embedding"  # distance to the nearest embeddings
    ENTROPY = "entropy"  # of the probabilities
    SCREENING = "screening"  # the score of the detectors


@dataclass(frozen=True, slots=True)
class Scorer:
    """The scores of one reference: those that it has and that vary there."""

    measures: dict[Score, Callable[[Rows], Values]]
    left_out: dict[str, str]
    calibration: NDArray[np.float32]  # M S, scores of reference rows that nothing was fitted on
    predicted: NDArray[np.int64]  # M, of the same rows

    @property
    def names(self) -> tuple[str, ...]:
        """The S scores, in the order of their columns."""
        return tuple(score.value for score in self.measures)

    def of(self, rows: Rows) -> NDArray[np.float32]:
        """Return the scores N S of all rows; NaN where a row lacks what a score needs."""
        columns = [measure(rows) for measure in self.measures.values()]
        with np.errstate(over="ignore"):
            return np.column_stack(columns).astype(np.float32)


def fit_scorer(reference: Reference, *, neighbours: int, seed: int) -> Scorer:
    """Fit the scores on one part of the reference, calibrate on the other.

    Raises `UserError` if too few of its rows are whole, or nothing varies.
    """
    fit, rest = divided(len(reference.features), seed)
    measures: dict[Score, Callable[[Rows], Values]] = {}
    left_out: dict[str, str] = {}
    columns = []
    for score, build in _BUILDERS.items():
        measure = build(reference, fit, neighbours)
        values = None if measure is None else measure(reference)[rest].astype(np.float32)
        fault = _fault(values)
        if measure is None or values is None or fault:
            left_out[score.value] = fault
        else:
            measures[score] = measure
            columns.append(values)
    if not measures:
        raise _unusable(reference, "no score of its rows varies")
    table = np.column_stack(columns)
    whole = np.isfinite(table).all(axis=1)
    if whole.sum() < MIN_CALIBRATION:
        raise _unusable(reference, f"{whole.sum()} whole rows to calibrate on")
    return Scorer(measures, left_out, table[whole], reference.predicted[rest][whole])


def _fault(values: NDArray[np.float32] | None) -> str:
    """Say why a score cannot be used: "" if it can."""
    if values is None:
        return "not whole in the reference"
    finite = values[np.isfinite(values)]
    if len(finite) * 2 < len(values) or len(finite) == 0:
        return "NaN in most rows of the reference"
    return "constant in the reference" if finite.min() == finite.max() else ""


def _unusable(reference: Reference, fault: str) -> UserError:
    return UserError(
        f"the reference of {reference.model} {reference.version} cannot be compared with: {fault}",
        remedy=f"Make one from {2 * MIN_CALIBRATION} or more held-out images.",
    )


def _starting(names: Sequence[str], *starts: str) -> list[int]:
    return [at for at, name in enumerate(names) if name.startswith(starts)]


def _mean_of(*starts: str) -> Callable[..., Callable[[Rows], Values] | None]:
    """Return a builder of the mean of the features whose names start so."""

    def build(
        reference: Reference, fit: NDArray[np.int64], neighbours: int
    ) -> Callable[[Rows], Values] | None:
        columns = _starting(reference.feature_names, *starts)
        if not columns:
            return None
        return lambda rows: np.asarray(rows.features[:, columns].mean(axis=1))

    return build


def _screening(
    reference: Reference, fit: NDArray[np.int64], neighbours: int
) -> Callable[[Rows], Values]:
    return lambda rows: rows.score


def _photometric(
    reference: Reference, fit: NDArray[np.int64], neighbours: int
) -> Callable[[Rows], Values] | None:
    columns = [at for at, name in enumerate(reference.feature_names) if name not in MODEL_FEATURES]
    values = reference.features[fit][:, columns]
    values = values[np.isfinite(values).all(axis=1)]
    if not columns or len(values) < 2:
        return None
    centre = values.mean(axis=0)
    least = least_deviations(centre)
    spread = np.cov(values, rowvar=False).reshape(len(columns), -1) + np.diag(least**2)
    inverse = np.linalg.inv(spread)
    inverse = (inverse + inverse.T) / 2

    def measure(rows: Rows) -> Values:
        found = np.ascontiguousarray(rows.features[:, columns])
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(cdist(found, centre[None], "mahalanobis", VI=inverse)[:, 0])

    return measure


def _embedding(
    reference: Reference, fit: NDArray[np.int64], neighbours: int
) -> Callable[[Rows], Values] | None:
    known = reference.embedding[fit].astype(np.float64)
    known = known[np.isfinite(known).all(axis=1)]
    if reference.embedding.shape[1] == 0 or len(known) < 2:
        return None
    return lambda rows: mean_distance(rows.embedding, known, neighbours)


_BUILDERS: dict[Score, Callable[..., Callable[[Rows], Values] | None]] = {
    Score.BRIGHTNESS: _mean_of("mean_"),
    Score.CONTRAST: _mean_of("std_"),
    Score.SHARPNESS: _mean_of("sharpness"),
    Score.PHOTOMETRIC: _photometric,
    Score.EMBEDDING: _embedding,
    Score.ENTROPY: _mean_of("entropy"),
    Score.SCREENING: _screening,
}
