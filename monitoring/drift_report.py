"""What an analysis of drift says: values only, ready to be printed, drawn or written as JSON.

Whatever could not be computed is None beside a note that says why; nothing is silently zero.
Times are ns since 1970, UTC. Shares lie in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar


class Outcome(StrEnum):
    """What the whole analysis came to."""

    QUIET = "quiet"
    DRIFT = "drift"
    TOO_FEW_ROWS = "too_few_rows"
    NO_REFERENCE = "no_reference"


class TestName(StrEnum):
    """The tests that decide together, each with its own part of the false-alarm rate.

    Behind each: the unit of its effect.
    """

    __test__ = False  # no test case of pytest's

    PHOTOMETRIC = "photometric"  # location of brightness, contrast ...: standard deviations
    FEATURES = "features"  # distribution of every feature: Wasserstein-1, standard deviations
    OUTPUTS = "outputs"  # every softmax output (Rabanser et al. 2019): KS distance
    EMBEDDING = "embedding"  # of the embeddings: maximum mean discrepancy
    CLASSES = "classes"  # shares of the predicted classes: total variation
    SCREENING = "screening"  # share of suspicious images: difference of the shares
    ACCURACY = "accuracy"  # where labels came: fall of the accuracy


class Note(StrEnum):
    """Why a number is there or not."""

    OK = "ok"
    TOO_FEW = "too_few"  # fewer usable rows than it needs
    CONSTANT = "constant"  # one value throughout the reference: compared, effects have no scale
    ALL_NAN = "all_nan"  # no finite value in the window, or in the reference
    ABSENT = "absent"  # the log or the reference does not hold it
    NO_LABELS = "no_labels"
    UNKNOWN_CLASSES = "unknown_classes"  # the classes do not match the reference's


class Kind(StrEnum):
    """What may lie behind a drift."""

    CONCEPT = "concept"  # the same images now mean something else
    SAMPLING = "sampling"  # the same images, in other proportions
    SELECTION_BIAS = "selection_bias"  # some clients or sessions stand for all
    SOFTWARE = "software"  # another version, format or calibration
    DATA_CHANGE = "data_change"  # the images themselves look different


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """One test. Unless `note` is ok it could not be made and has no numbers.

    It is `rejected` if `p_value` is at most `level`, its part of the false-alarm rate, and the
    effect is at least `smallest_effect`: significant, and large enough to mind.
    """

    __test__: ClassVar[bool] = False  # no test case of pytest's

    name: TestName
    note: Note
    statistic: float | None
    p_value: float | None
    level: float
    effect: float | None  # in the unit that `TestName` says; infinite where it has no scale
    smallest_effect: float
    rejected: bool
    rows: int  # of the window, that the test could use
    says: str  # one sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDrift:
    """One feature; distances as in `monitoring.drift`, None where they cannot be computed."""

    name: str
    note: Note
    rows: int  # finite values in the window
    reference_mean: float | None
    window_mean: float | None
    effect: float | None  # Wasserstein-1 over the reference's standard deviation
    kl: float | None
    wasserstein: float | None
    jensen_shannon: float | None
    psi: float | None
    ks: float | None
    p_value: float | None  # of the two-sample KS test
    adjusted_p: float | None  # Benjamini-Hochberg over all features
    drifted: bool  # adjusted_p is within the level of the test over features


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassShare:
    """One class: its true share in the reference, and what can be said of it in the window."""

    label: str
    reference: float
    predicted: float | None  # share of predictions
    estimated: float | None  # share by black-box shift estimation (Lipton et al. 2018)
    low: float | None  # bootstrap interval of `estimated`
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptDrift:
    """Accuracy where labels came, against that on the reference for the same classes."""

    note: Note
    labelled: int
    correct: int
    accuracy: float | None
    expected: float | None  # the reference's accuracy, its classes weighted as in the window
    low: float | None  # Wilson 95 % interval of `accuracy`
    high: float | None
    p_value: float | None  # one-sided: so low by chance, the classes being as they are


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingChange:
    """What changed between two train records of the model; shares and means are on 0..1."""

    before: str  # version
    after: str
    same_data: bool
    class_shift: float  # total variation between the class shares
    class_p_value: float | None
    brightness_change: float  # mean pixel of all channels, after less before
    contrast_change: float  # standard deviation, likewise
    histogram_shift: float  # total variation between the pixel histograms
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeMoment:
    """Where in the window the change began, by the largest CUSUM of the feature that moved most."""

    timestamp_ns: int
    rows_before: int
    feature: str
    p_value: float  # by permutation; small: it began within the window


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Rows of the window that one version of model and code answered."""

    version: str
    code_version: str
    rows: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation, and what it adds to (or takes from) the weight of a kind."""

    says: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KindWeight:
    """A kind of drift; `weight` sums its evidence, `share` is its part of all positive weights."""

    kind: Kind
    weight: float
    share: float
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """The whole analysis. Tuples are empty where there was nothing to say.

    `kinds` is sorted, the likeliest first, and empty unless the outcome is drift.
    """

    model: str
    outcome: Outcome
    says: str  # one line
    reference_version: str | None
    served: tuple[Served, ...]
    start_ns: int | None
    end_ns: int | None
    rows: int
    effective_rows: int  # after thinning the frames of a session
    reference_rows: int
    false_alarm_rate: float  # of all tests together, on images like the reference's
    tests: tuple[TestResult, ...]
    features: tuple[FeatureDrift, ...]  # the most drifted first
    class_shares: tuple[ClassShare, ...]
    class_note: Note
    concept: ConceptDrift
    training: TrainingChange | None
    change: ChangeMoment | None
    kinds: tuple[KindWeight, ...]
    notes: tuple[str, ...]  # what was left out, and why

    def test(self, name: TestName) -> TestResult | None:
        """Return the test of that name, None if the analysis did not come so far."""
        return next((test for test in self.tests if test.name is name), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON; numbers that are not finite become None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
