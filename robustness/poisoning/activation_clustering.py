"""Activation clustering (Chen et al. 2018) with ART's `ActivationDefence`.

ART parts the activations of each class in two. A split with a low silhouette is no structure and
suspects nobody: "nothing found". Else ART suspects a cluster with less than 35 % of the class; a
backdoor that fills half of its class needs another sign, so the cluster whose images lie among
other classes' is suspected as well. Import after `robustness.art_library.prepare()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from art.defences.detector.poison import ActivationDefence
from art.defences.detector.poison.clustering_analyzer import ClusteringAnalyzer
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray

from robustness.poisoning.evidence import Evidence
from robustness.poisoning.group import Group, Reason
from robustness.poisoning.seeded import seeded_numpy

DIMENSIONS = 10
WORKING_MEMORY_MIB = 64
ANY_SILHOUETTE = -1.0
"""Our own threshold is applied later: where a small cluster falls below ART's, ART 1.20 crashes."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The two clusters (0 or 1, M) of a class's samples (places, M) and their silhouette."""

    label: int
    members: NDArray[np.int64]
    clusters: NDArray[np.int64]
    silhouette: float
    art_suspects: int | None

    def cluster(self, number: int) -> NDArray[np.int64]:
        """Return the places of one cluster's samples."""
        return np.asarray(self.members[self.clusters == number])


def split_classes(
    classifier: PyTorchClassifier, evidence: Evidence, labels: Sequence[int], seed: int
) -> list[Split]:
    """Cluster the activations of some classes, as ART does, with its analysis of silhouettes.

    A class whose activations are all alike has no two clusters and is left out.
    """
    from sklearn import config_context

    labels = [
        label for label in labels if np.ptp(evidence.features[evidence.of_class(label)], 0).any()
    ]
    if not labels:
        return []
    defence = ActivationDefence(classifier, evidence.features, evidence.labels)
    members = [evidence.of_class(label) for label in labels]
    defence.activations_by_class = [evidence.features[places] for places in members]
    dimensions = min(DIMENSIONS, *(min(part.shape) for part in defence.activations_by_class))
    with seeded_numpy(seed), config_context(working_memory=WORKING_MEMORY_MIB):
        clusters, reduced = defence.cluster_activations(nb_dims=dimensions, reduce="PCA")
        _, poisonous, report = ClusteringAnalyzer().analyze_by_silhouette_score(
            clusters, reduced, silhouette_threshold=ANY_SILHOUETTE
        )
    return [
        Split(
            label=label,
            members=places,
            clusters=np.asarray(clusters[index], np.int64),
            silhouette=float(report[f"class_{index}"]["avg_silhouette_score"]),
            art_suspects=_only(poisonous[index]),
        )
        for index, (label, places) in enumerate(zip(labels, members, strict=True))
    ]


def suspect_clusters(
    splits: Sequence[Split], evidence: Evidence, *, silhouette: float, gap: float
) -> list[Group]:
    """Return the clusters that are suspected, at most one a class.

    Below `silhouette` none is. `gap` is how much less, as a share of 1, the neighbours of a cluster
    must agree with its label than those of the other cluster for it to be suspected at any size.
    """
    agreement = evidence.agreement
    groups = []
    for split in splits:
        if split.silhouette <= silhouette:
            continue
        means = [float(agreement[split.cluster(number)].mean()) for number in (0, 1)]
        strange = int(np.argmin(means)) if abs(means[0] - means[1]) >= gap else None
        chosen = split.art_suspects if strange is None else strange
        if chosen is not None:
            members = split.cluster(chosen)
            groups.append(
                Group(Reason.ACTIVATION_CLUSTER, split.label, members, members, split.silhouette)
            )
    return groups


def _only(poisonous: NDArray[np.float64]) -> int | None:
    """Return the number of the one cluster of a class that ART calls poisonous, if there is one."""
    found = np.flatnonzero(poisonous)
    return int(found[0]) if len(found) == 1 else None
