"""The scan: gather evidence, let every detector name its suspects, judge them, flag samples.

Import after `robustness.art_library.prepare()`. Shapes: N samples, K classes, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.detectors import art_classifier
from robustness.poisoning.activation_clustering import Split, split_classes, suspect_clusters
from robustness.poisoning.config import ScanConfig
from robustness.poisoning.duplicates import Duplicates, find_duplicates
from robustness.poisoning.evidence import Evidence, Learn, Mask, Progress, best_other, look
from robustness.poisoning.findings import Finding, GroupVerdict, ScanResult
from robustness.poisoning.group import Group, Reason
from robustness.poisoning.label_disagreement import WEAKEST, Disagreement, label_disagreement
from robustness.poisoning.neighbour_direction import suspect_directions
from robustness.poisoning.neighbours import find_neighbours
from robustness.poisoning.reclassification import Judgement, Verdicts, reclassify
from robustness.poisoning.spectral_signatures import suspect_spectra
from torchkeep.architectures import Classifier
from torchkeep.data import ImageSet
from torchkeep.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What a scan found, and the network it trained on all samples, poison included."""

    result: ScanResult
    network: Classifier


def scan(
    data: ImageSet,
    classes: Sequence[str],
    config: ScanConfig,
    learn: Learn,
    progress: Progress,
) -> Scan:
    """Scan labelled images for poison; `learn` trains a network four times over at most.

    Raises `DataError` if labels are not those of the classes, or if there is nothing to compare.
    """
    tested = _check(data, classes, config)
    network, evidence = gather(data, classes, config, learn, progress)
    progress("look for duplicates", 0, 1)
    duplicates = find_duplicates(data.images, data.labels, evidence.neighbours)
    progress("look for duplicates", 1, 1)
    groups, splits = _suspect(network, data, evidence, tested, config, progress)
    verdicts = reclassify(
        groups,
        data.images,
        evidence,
        learn,
        share=config.explained_away,
        seed=config.seed + 3,
    )
    disagreement = label_disagreement(evidence, config.seed)
    result = ScanResult(
        images=len(data),
        findings=_fuse(evidence, verdicts, duplicates, disagreement, tested, config),
        groups=tuple(_told(found, evidence.classes) for found in verdicts.judgements),
        silhouettes={evidence.classes[split.label]: split.silhouette for split in splits},
        wrong_labels=round(disagreement.wrong_labels, 1),
        exact_duplicates=duplicates.exact,
        near_duplicates=duplicates.near,
        not_tested=_not_tested(evidence, tested, config, disagreement),
        settings=asdict(config),
    )
    return Scan(result, network)


def gather(
    data: ImageSet, classes: Sequence[str], config: ScanConfig, learn: Learn, progress: Progress
) -> tuple[Classifier, Evidence]:
    """Find neighbours, train on all samples and on each half; return what was seen."""
    seed = config.seed
    neighbours = find_neighbours(data.images, data.labels, config.neighbours, seed, progress)
    network = learn(data, seed=seed, step="train on all samples")
    features, _ = look(network, data.images)
    held_out = np.empty((len(data), len(classes)), np.float32)
    order = np.random.default_rng(seed).permutation(len(data))
    halves = order[::2], order[1::2]
    for number, (part, rest) in enumerate((halves, halves[::-1]), start=1):
        trained = learn(data.subset(rest), seed=seed + number, step=f"train on half {number}")
        held_out[part] = look(trained, data.images[part])[1]
    return network, Evidence(data.labels, tuple(classes), features, held_out, neighbours)


def _check(data: ImageSet, classes: Sequence[str], config: ScanConfig) -> list[int]:
    """Return the classes that can be tested."""
    low, high = (int(data.labels.min()), int(data.labels.max())) if len(data) else (0, 0)
    if low < 0 or high >= len(classes):
        raise DataError("labels", f"go from {low} to {high}", f"0 to {len(classes) - 1}")
    counts = np.bincount(data.labels, minlength=len(classes))
    if np.count_nonzero(counts) < 2:
        raise DataError(
            "labels", "are of fewer than two classes", "something to compare a class with"
        )
    tested = [int(label) for label in np.flatnonzero(counts >= config.fewest)]
    if len(tested) < 2:
        raise DataError(
            "labels",
            f"leave {len(tested)} class(es) with {config.fewest} images or more",
            "two or more",
            remedy="A scan of so little data would tell nothing: look at every image.",
        )
    return tested


def _suspect(
    network: Classifier,
    data: ImageSet,
    evidence: Evidence,
    tested: Sequence[int],
    config: ScanConfig,
    progress: Progress,
) -> tuple[list[Group], list[Split]]:
    """Ask the three detectors of groups, one after the other."""
    progress("look for groups", 0, 3)
    device = network.head.weight.device
    wrapped = art_classifier(network, data.shape, device)
    splits = split_classes(wrapped, evidence, tested, config.seed)
    groups = suspect_clusters(splits, evidence, silhouette=config.silhouette, gap=config.gap)
    progress("look for groups", 1, 3)
    groups += suspect_directions(evidence, tested, separation=config.separation)
    progress("look for groups", 2, 3)
    groups += suspect_spectra(evidence, tested, false_discoveries=config.false_discoveries)
    progress("look for groups", 3, 3)
    return groups, splits


def _fuse(
    evidence: Evidence,
    verdicts: Verdicts,
    duplicates: Duplicates,
    disagreement: Disagreement,
    tested: Sequence[int],
    config: ScanConfig,
) -> tuple[Finding, ...]:
    """Return a finding for every sample that anything flags, with the highest confidence of all."""
    wrong = disagreement.confidence * np.isin(evidence.labels, tested)
    doubted = 1 - evidence.held_out_own
    flags: dict[Reason, tuple[Mask, NDArray[np.floating]]] = {
        Reason.RECLASSIFIED: (verdicts.poisoned, verdicts.confidence),
        Reason.CONFLICTING_DUPLICATE: (duplicates.conflicting & (doubted > 0.5), doubted),
        Reason.LABEL_DISAGREEMENT: (wrong >= config.label_confidence, wrong),
    }
    detectors = _named_by(verdicts.judgements)
    shows = _shown(evidence, disagreement)
    return tuple(
        Finding(
            place=place,
            label=evidence.classes[evidence.labels[place]],
            shows=evidence.classes[shows[place]],
            reasons=tuple(sorted({*reasons, *detectors.get(place, ())})),
            confidence=round(max(float(flags[reason][1][place]) for reason in reasons), 4),
        )
        for place, reasons in _flagged(flags).items()
    )


def _flagged(
    flags: dict[Reason, tuple[Mask, NDArray[np.floating]]],
) -> dict[int, list[Reason]]:
    """Return the reasons of every flagged place, ascending."""
    found: dict[int, list[Reason]] = {}
    for reason, (mask, _) in flags.items():
        for place in np.flatnonzero(mask).tolist():
            found.setdefault(place, []).append(reason)
    return dict(sorted(found.items()))


def _named_by(judgements: Sequence[Judgement]) -> dict[int, list[Reason]]:
    """Return, for each member of a confirmed group, the detectors that named it."""
    named: dict[int, list[Reason]] = {}
    for judgement in judgements:
        if judgement.confirmed:
            for place in judgement.group.members.tolist():
                named.setdefault(place, []).append(judgement.group.reason)
    return named


def _shown(evidence: Evidence, disagreement: Disagreement) -> NDArray[np.int64]:
    """Return what each image seems to show: N. Where a network learnt the label, ask neighbours."""
    neighbours = evidence.neighbours
    votes = np.zeros((len(evidence), len(evidence.classes)), np.float32)
    for column in range(neighbours.places.shape[1]):
        votes[np.arange(len(votes)), neighbours.labels[neighbours.places[:, column]]] += 1
    by_neighbours, _ = best_other(votes, evidence.labels)
    learnt = evidence.held_out_own >= 0.5
    return np.where(learnt, by_neighbours, disagreement.other)


def _told(judgement: Judgement, classes: Sequence[str]) -> GroupVerdict:
    group = judgement.group
    return GroupVerdict(
        detector=group.reason,
        label=classes[group.label],
        members=len(group.members),
        statistic=round(group.statistic, 4),
        judged=judgement.judged,
        explained_away=judgement.explained,
        lower_bound=round(judgement.bound, 4),
        confirmed=judgement.confirmed,
    )


def _not_tested(
    evidence: Evidence, tested: Sequence[int], config: ScanConfig, disagreement: Disagreement
) -> dict[str, str]:
    """Return what the scan cannot speak of, and why."""
    counts = np.bincount(evidence.labels, minlength=len(evidence.classes))
    told = {
        f"class {name!r}": f"{counts[label]} images, fewer than {config.fewest}"
        for label, name in enumerate(evidence.classes)
        if label not in tested
    }
    if not disagreement.tested:
        told["wrong labels"] = f"held-out networks reproduce fewer than {WEAKEST:.0%} of the labels"
    return told
