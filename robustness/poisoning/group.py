"""A group of samples of one class that a detector suspects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Reason(StrEnum):
    """Why a sample is flagged."""

    ACTIVATION_CLUSTER = "activation_cluster"
    SPECTRAL_SIGNATURE = "spectral_signature"
    NEIGHBOUR_DIRECTION = "neighbour_direction"
    RECLASSIFIED = "reclassified"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    LABEL_DISAGREEMENT = "label_disagreement"


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Samples of class `label` (places, M) that stand out by a detector's statistic.

    `core` are those of the members by which the group is judged.
    """

    reason: Reason
    label: int
    members: NDArray[np.int64]
    core: NDArray[np.int64]
    statistic: float
