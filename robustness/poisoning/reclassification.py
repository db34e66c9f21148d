"""Exclusionary reclassification (Chen et al. 2018, section 4): judge suspects by a network
that never saw them.

A sample is *explained away* if three things hold at once: a network trained on half of the data,
without the sample, gives it its label; a network trained without any suspect gives it another; and
those of its neighbours that are no suspects carry others, too. So its label is taught by nothing
but the other suspects: by what they share, not by what the image shows. Hard images fail the first
test or the third, wrong labels the first.
"""

# N samples, M members of a group

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.calibration import clopper_pearson_upper
from robustness.poisoning.evidence import Evidence, Floats, Learn, Mask, Places, look, own
from robustness.poisoning.group import Group
from robustness.poisoning.neighbour_direction import FEWEST, discriminant_scores
from torchkeep.data import ImageSet

LEARNT = 0.5
"""Held-out probability from which a label is what a network learnt."""
UNLEARNT = 0.2
"""Probability below which a label is not what the network without suspects says."""
ERROR = 0.05
ON_THE_WAY = 0.3
"""Share of the way from the rest of a class to a group from which samples are excluded with it."""
PURE = 0.95
"""Bound from which all who are judged in a group are flagged, with the bound as confidence.

Among many poisoned images some look like the class they are labelled as.
"""
MOST_OF_A_CLASS = 0.8
"""Share of a class that may be excluded: what is left has to teach the class."""


Circle = tuple[Group, Places]
"""A group, and what is excluded with it."""


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """A suspected group: how many of its members were judged, and how many explained away.

    `bound` is the lower 95 % confidence bound of their share, over all groups together.
    """

    group: Group
    judged: int
    explained: int
    bound: float
    confirmed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """Every group's judgement; of each sample (N) whether it is poisoned, and how sure that is."""

    judgements: tuple[Judgement, ...]
    poisoned: Mask
    confidence: Floats


def reclassify(
    groups: Sequence[Group],
    images: NDArray[np.uint8],
    evidence: Evidence,
    learn: Learn,
    *,
    share: float,
    seed: int,
) -> Verdicts:
    """Train without all suspects and judge every group; a group is confirmed from `share` up.

    With no groups nothing is trained.
    """
    circles = _leave_enough([(group, _around(group, evidence)) for group in groups], evidence)
    nobody = np.zeros(len(evidence), np.bool_)
    if not circles:
        return Verdicts((), nobody, np.zeros(len(evidence), np.float32))
    excluded = _union([places for _, places in circles], len(evidence))
    left = ImageSet(images, evidence.labels).subset(np.flatnonzero(~excluded))
    network = learn(left, seed=seed, step="train without suspects")
    probability = own(look(network, images)[1], evidence.labels)
    alien = _remaining_agreement(evidence, excluded) < LEARNT
    explained = (evidence.held_out_own >= LEARNT) & (probability < UNLEARNT) & alien
    judgements = tuple(
        _judge(group, explained, share, error=ERROR / len(circles)) for group, _ in circles
    )
    confirmed = [
        (found, places)
        for (_, places), found in zip(circles, judgements, strict=True)
        if found.confirmed
    ]
    guilty = _union([places for _, places in confirmed], len(evidence))
    poisoned = guilty & alien & (probability < LEARNT)
    confidence = 1 - probability
    for found, _ in confirmed:
        if found.bound >= PURE:
            core = found.group.core
            poisoned[core] = True
            confidence[core] = np.maximum(confidence[core], found.bound)
    return Verdicts(judgements, poisoned, confidence)


def _judge(group: Group, explained: Mask, share: float, error: float) -> Judgement:
    judged, count = len(group.core), int(explained[group.core].sum())
    bound = 1 - clopper_pearson_upper(judged - count, judged, 1 - error)
    return Judgement(group, judged, count, bound, bound >= share)


def _around(group: Group, evidence: Evidence) -> Places:
    """Return a group and the samples of its class that lie on the way to it.

    A handful of poisoned samples left in is enough to teach a network the trigger.
    """
    places = evidence.of_class(group.label)
    inside = np.isin(places, group.members)
    if min(inside.sum(), (~inside).sum()) < FEWEST:
        return group.members
    scores = discriminant_scores(evidence.features[places], inside)
    outer, inner = np.median(scores[~inside]), np.median(scores[inside])
    return np.asarray(places[inside | (scores > outer + ON_THE_WAY * (inner - outer))])


def _leave_enough(circles: Sequence[Circle], evidence: Evidence) -> list[Circle]:
    """Return the groups, small ones first, that leave some of their class to learn it from."""
    kept: list[Circle] = []
    for group, places in sorted(circles, key=lambda circle: len(circle[1])):
        same = [others for other, others in kept if other.label == group.label]
        covered = _union([*same, places], len(evidence)).sum()
        if covered <= MOST_OF_A_CLASS * len(evidence.of_class(group.label)):
            kept.append((group, places))
    return kept


def _union(parts: Sequence[Places], total: int) -> Mask:
    mask = np.zeros(total, np.bool_)
    for places in parts:
        mask[places] = True
    return mask


def _remaining_agreement(evidence: Evidence, excluded: Mask) -> Floats:
    """Return the share of each sample's neighbours, excluded ones aside, with its label."""
    places = evidence.neighbours.places
    left = ~excluded[places]
    same = left & (evidence.labels[places] == evidence.labels[:, None])
    agreement: Floats = (same.sum(1) / np.maximum(left.sum(1), 1)).astype(np.float32)
    return agreement
