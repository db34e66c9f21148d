"""Labels that an image does not bear out, however it came by them: slips as well as flips.

A sample's score is by how much a network that was trained without it prefers another class to its
label (in the spirit of confident learning, Northcutt et al. 2021); its neighbours must bear the
other class out. What a wrong label scores is known: give each sample a wrong label at random and
score that. So of Efron's two groups (2008) the alternative is known and the null is not needed:
the number of wrong labels follows from the scores in the alternative's upper half, and with it the
share of wrong labels above any score.
"""

# N samples, K classes

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.poisoning.evidence import Evidence, Floats, best_other, own

WELL_INSIDE = 0.5
"""Above this quantile of wrong labels' scores, wrong labels are counted."""
LOWEST = 0.02
"""Below this quantile nothing is flagged: few wrong labels are left to be found there."""
FEWEST = 3
WEAKEST = 2 / 3
"""Share of labels that held-out networks must reproduce: weaker ones are no witness."""
BACKED = 0.5
"""Share of neighbours that must carry the class the network prefers."""


@dataclass(frozen=True, slots=True, eq=False)
class Disagreement:
    """What another class has over each label, and the share of wrong labels from there up.

    `wrong_labels` is the estimated number of wrong labels in all the data. `tested` is false where
    the networks reproduce too few labels to speak against any.
    """

    tested: bool
    other: NDArray[np.int64]  # N
    confidence: NDArray[np.float64]  # N, 0 where nothing speaks against the label
    wrong_labels: float


def label_disagreement(evidence: Evidence, seed: int) -> Disagreement:
    """Score the labels of all samples, and say how sure it is that each is wrong."""
    labels = evidence.labels
    random = np.random.default_rng(seed).integers(1, len(evidence.classes), len(labels))
    other, scores = _scores(evidence, labels)
    if (evidence.held_out.argmax(1) == labels).mean() < WEAKEST:
        return Disagreement(False, other, np.zeros(len(labels)), 0.0)
    _, wrong = _scores(evidence, (labels + random) % len(evidence.classes))
    share, count = _wrong_share(scores, np.sort(wrong[np.isfinite(wrong)]), len(wrong))
    return Disagreement(True, other, share, count)


def _scores(
    evidence: Evidence, labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the class preferred to each label, and by what log odds; -inf if not borne out."""
    other, probability = best_other(evidence.held_out, labels)
    tiny = np.finfo(np.float32).tiny
    odds = np.log(probability + tiny, dtype=float) - np.log(_own(evidence, labels) + tiny)
    borne_out = (evidence.neighbours.share(other) >= BACKED) & (odds > 0)
    return other, np.where(borne_out, odds, -np.inf)


def _own(evidence: Evidence, labels: NDArray[np.int64]) -> Floats:
    return own(evidence.held_out, labels)


def _wrong_share(
    scores: NDArray[np.float64], wrong: NDArray[np.float64], total: int
) -> tuple[NDArray[np.float64], float]:
    """Return the share of wrong labels from each score up (N), and how many there are in all.

    `wrong` are the scores that wrong labels get, ascending, of `total` that were tried.
    """
    nothing = np.zeros(len(scores)), 0.0
    if not len(wrong):
        return nothing
    middle = np.quantile(wrong, WELL_INSIDE)
    inside = int((scores >= middle).sum())
    if inside < FEWEST:
        return nothing
    estimate = inside / _share_from(wrong, np.array([middle]), total)[0]
    expected = estimate * _share_from(wrong, scores, total)
    observed = len(scores) - np.searchsorted(np.sort(scores), scores, side="left")
    share = np.minimum(1.0, expected / observed)
    share[scores < np.quantile(wrong, LOWEST)] = 0.0
    return _never_falling(scores, share), float(estimate)


def _share_from(
    wrong: NDArray[np.float64], scores: NDArray[np.float64], total: int
) -> NDArray[np.float64]:
    return np.asarray((len(wrong) - np.searchsorted(wrong, scores, side="left")) / total)


def _never_falling(scores: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shares made monotone: a higher score is never less sure."""
    order = np.argsort(scores)
    risen = np.empty_like(share)
    risen[order] = np.maximum.accumulate(share[order])
    return risen
