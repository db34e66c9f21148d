"""What a scan found: which samples, why, and how sure; and what could not be tested."""

# N samples, K classes

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.poisoning.group import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One flagged sample: its place in the train images, its label, what it seems to show.

    `confidence`, from 0 to 1, estimates how probable it is that the label is not what the image
    shows (docs/poisoning.md says how, for each reason).
    """

    place: int
    label: str
    shows: str
    reasons: tuple[Reason, ...]
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupVerdict:
    """What became of a group that a detector suspected."""

    detector: Reason
    label: str
    members: int
    statistic: float
    judged: int
    explained_away: int
    lower_bound: float
    confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """Findings in the order of their places, and what the detectors saw on the way."""

    images: int
    findings: tuple[Finding, ...]
    groups: tuple[GroupVerdict, ...]
    silhouettes: Mapping[str, float]
    wrong_labels: float
    exact_duplicates: int
    near_duplicates: int
    not_tested: Mapping[str, str]
    settings: Mapping[str, Any]

    @property
    def places(self) -> tuple[int, ...]:
        """The places of all flagged samples, ascending."""
        return tuple(finding.place for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """How many samples each reason flagged; a sample may have several."""
        counts = Counter(reason for finding in self.findings for reason in finding.reasons)
        return {str(reason): counts[reason] for reason in Reason if counts[reason]}

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Which samples are flagged: N."""
        mask = np.zeros(self.images, np.bool_)
        mask[list(self.places)] = True
        return mask

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **asdict(self),
            "flagged": len(self.findings),
            "counts": self.counts,
            "nothing_found": not self.findings,
        }
