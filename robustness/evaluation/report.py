"""What a robustness report says, as one frozen tree; its JSON is read back strictly.

Every figure carries its counts; a figure that a failed check makes doubtful is withheld: its
`share` is None, and `checks` says why. Accuracies and rates are shares of 1. Points of curves are
sorted by x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from robustness.calibration import clopper_pearson_upper
from torchkeep.errors import DataError, SettingsError

REPORT_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`count` of `n`, with the two-sided 95 % Clopper-Pearson interval; `share` None: withheld."""

    count: int
    n: int
    share: float | None
    low: float
    high: float

    @classmethod
    def of(cls, count: int, n: int) -> Share:
        """Return the share of `count` among `n`; of nothing it is withheld, between 0 and 1."""
        if n == 0:
            return cls(count=0, n=0, share=None, low=0.0, high=1.0)
        high = clopper_pearson_upper(count, n, 0.975)
        low = 1 - clopper_pearson_upper(n - count, n, 0.975)
        return cls(count=count, n=n, share=count / n, low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a curve."""

    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A named line."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A reason to doubt, looked for: `passed`, what was seen, and where it is described.

    A failed check that is `fatal` withholds the robust accuracies.
    """

    name: str
    passed: bool
    fatal: bool
    seen: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """How well a score tells attacked images from clean ones.

    `tpr_at` maps a false-positive rate ("0.01") to the detection rate there; `flagged` is the rate
    at the served threshold. None where it cannot be computed (no image was attacked).
    """

    score: str  # "fused", or a head's name
    auroc: float | None
    tpr_at: Mapping[str, float | None]
    flagged: Share | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackResult:
    """What one attack did to the first `n` test images."""

    name: str  # "APGD-CE"
    threat: str  # "linf 0.3"
    knows: str  # "network" | "network and detectors" | "answers" | "another network"
    source: str
    budget: Mapping[str, int | float]
    seed: int
    attacked: int
    """Images it was run on; the rest were fooled by an attack before it in a standard ensemble."""
    accuracy: Share
    """Of the images it was run on, those still given their label."""
    accepted_wrong: Share | None
    """Of the images it was run on, those wrong and not flagged; None without detectors, and for an
    ensemble, whose later members are not run on what an earlier one turned."""
    detections: tuple[Detection, ...]
    """Of the images it moved, turned or not."""
    fitted_on: bool
    """Whether detectors were fitted on this kind of attack."""
    runtime_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreatResult:
    """The worst case per image over all attacks within one threat model."""

    threat: str
    attacks: tuple[str, ...]
    robust_accuracy: Share
    with_detection: Share | None
    """Right and accepted when clean, and no attack is wrong and accepted; rejected clean inputs
    count as errors. Over all attacks, adaptive ones included."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionResult:
    """Natural corruption of the test images."""

    kind: str
    severity: int
    accuracy: Share
    flagged: Share | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessingResult:
    """A preprocessing defence, attacked with the gradient passed through it."""

    name: str
    clean_accuracy: Share
    robust_accuracy: Share
    attack: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificationResult:
    """Accuracy that is proved: share of images right and certified at each radius."""

    method: str
    norm: str
    certified: tuple[Curve, ...]
    n: int
    settings: Mapping[str, Any]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An image that was turned, as PNG in base64: before, after, and the difference magnified."""

    index: int
    label: str
    predicted: str
    attack: str
    threat: str
    flagged: bool | None
    score: float | None
    before: str
    after: str
    difference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What was evaluated, on what, by what."""

    name: str
    version: str
    digest: str
    architecture: str
    recipe: str
    dataset: str
    dataset_digest: str
    classes: tuple[str, ...]
    input: tuple[int, int, int]
    trained_against: str | None
    train_metrics: Mapping[str, Any]
    heads: tuple[str, ...]
    threshold: float | None
    target_fpr: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """How a report came about: enough to repeat it."""

    command: str
    created: str  # ISO 8601, UTC
    quick: bool
    n: int
    seed: int
    block: int
    hardware: str
    device: str
    versions: Mapping[str, str]
    runtime_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessReport:
    """The whole report."""

    schema: int
    subject: Subject
    circumstances: Circumstances
    clean_accuracy: Share
    clean_flagged: Share | None
    clean_accepted_right: Share | None
    checks: tuple[Check, ...]
    threats: tuple[ThreatResult, ...]
    attacks: tuple[AttackResult, ...]
    security_curves: tuple[Curve, ...]
    """Accuracy (y) over eps (x), a curve a norm."""
    roc: tuple[Curve, ...] = ()
    """Detection rate (y) over false-positive rate (x), a curve an attack."""
    densities: tuple[Curve, ...] = ()
    """Density (y) of the fused score (x), of clean images and of each attack."""
    corruptions: tuple[CorruptionResult, ...] = ()
    preprocessing: tuple[PreprocessingResult, ...] = ()
    certification: tuple[CertificationResult, ...] = ()
    examples: tuple[Example, ...] = ()
    not_run: Mapping[str, str] = field(default_factory=dict)
    """What this report does not say, and why."""

    def to_json(self) -> bytes:
        """Return the report as JSON bytes, indented."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def to_plain(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def from_json(cls, content: bytes, path: object) -> RobustnessReport:
        """Read what `to_json` wrote; `path` is named in errors.

        Raises `DataError` if it is no report, `SettingsError` if it is one of another schema.
        """
        try:
            found = msgspec.json.decode(content, type=_Schema).schema
            if found != REPORT_SCHEMA:
                raise SettingsError(
                    f"{path} has report schema {found}; this version reads {REPORT_SCHEMA}"
                )
            return msgspec.json.decode(content, type=cls)
        except msgspec.DecodeError as error:
            raise DataError(path, str(error), "a report of torchkeep evaluate (JSON)") from error


@dataclass(frozen=True, slots=True)
class _Schema:
    schema: int
