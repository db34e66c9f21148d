"""Poison too rare to make a cluster of its own: the direction that the neighbours point out.

Within a class, the samples whose neighbours carry other labels are either hard, and then a matter
of degree, or poisoned, and then a mode of their own: the network knows them by their trigger. So a
linear discriminant between them and the rest (Fisher 1936), scored on samples it was not fitted on,
separates poison by many standard deviations and hard images by about two.
"""

# M samples of one class, F features

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robustness.poisoning.evidence import Evidence, Mask
from robustness.poisoning.group import Group, Reason

SHRINKAGE = 0.05
FEWEST = 10
"""Strangers in a class below which no direction is sought."""
STRANGE = (0.5, 0.2, 0.1)
"""Shares of neighbours with its own label below which a sample is a stranger in its class.

The first takes in poison whose trigger draws its neighbours together, and hard images; the last
leaves out nearly all of these.
"""


def suspect_directions(
    evidence: Evidence, labels: Sequence[int], *, separation: float
) -> list[Group]:
    """Return the samples on the strangers' side, of each class where it lies `separation` apart.

    Of the ways to draw the line around strangers, the one counts that sets them farthest apart.
    """
    agreement = evidence.agreement
    groups = []
    for label in labels:
        places = evidence.of_class(label)
        lines = [agreement[places] < share for share in STRANGE]
        sides = [
            _side(evidence.features[places], places, strange, label)
            for strange in lines
            if min(strange.sum(), (~strange).sum()) >= FEWEST
        ]
        farthest = max(sides, key=lambda side: side.statistic, default=None)
        if farthest is not None and farthest.statistic >= separation:
            groups.append(farthest)
    return groups


def _side(
    features: NDArray[np.float32], places: NDArray[np.int64], strange: Mask, label: int
) -> Group:
    """Return the samples of a class that lie on the strangers' side, judged by the strangers."""
    scores = discriminant_scores(features, strange)
    return Group(
        reason=Reason.NEIGHBOUR_DIRECTION,
        label=label,
        members=places[(scores > 0) | strange],
        core=places[strange],
        statistic=_deviations(scores, strange),
    )


def discriminant_scores(features: NDArray[np.float32], which: Mask) -> NDArray[np.float64]:
    """Return each sample's score (M) by the discriminant fitted on the other half of them.

    Above 0 is nearer to those that `which` (M) selects, whatever their number.
    """
    rank = np.where(which, np.cumsum(which), np.cumsum(~which))
    half = rank % 2 == 0  # of both kinds, in whatever order they come
    scores = np.empty(len(which))
    for part in (half, ~half):
        weights, offset = _discriminant(features[~part].astype(np.float64), which[~part])
        scores[part] = features[part] @ weights - offset
    return scores


def _discriminant(features: NDArray[np.float64], which: Mask) -> tuple[NDArray[np.float64], float]:
    one, other = features[which], features[~which]
    first, second = one.mean(0), other.mean(0)
    within = (one - first).T @ (one - first) + (other - second).T @ (other - second)
    within /= len(features)
    ridge = SHRINKAGE * np.trace(within) / len(within) + np.finfo(float).tiny
    within = (1 - SHRINKAGE) * within + ridge * np.eye(len(within))
    weights = np.linalg.solve(within, first - second)
    return weights, float(weights @ (first + second) / 2)


def _deviations(scores: NDArray[np.float64], which: Mask) -> float:
    """Return by how many pooled standard deviations the two means lie apart."""
    one, other = scores[which], scores[~which]
    spread = np.sqrt((one.var() + other.var()) / 2)
    return float((one.mean() - other.mean()) / spread) if spread else 0.0
