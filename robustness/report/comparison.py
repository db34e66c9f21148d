"""Two reports beside each other: what is not the same test first, then each figure and its noise.

Counts are compared by Fisher's exact test of two proportions, two-sided, and the p-values are
corrected for their number (Holm 1979, "A simple sequentially rejective multiple test procedure").
Both reports usually have the same images; a paired test would see more, so "same" is said
cautiously: it means that no difference was shown, not that there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from robustness.evaluation.report import AttackResult, RobustnessReport, Share
from robustness.report.wording import mapping_text

T = TypeVar("T")
LEVEL = 0.05
"""Chance of calling any difference real when there is none, over all figures together."""


class Outcome(StrEnum):
    """What became of a figure from the first report to the second."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same within noise"
    LOST = "no longer told"
    NEW = "only in the second"
    WITHHELD = "withheld in both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that is not the same in both; `like` False: it makes the figures another test."""

    what: str
    before: str
    after: str
    like: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure in both; `p` is corrected for the number of figures, None if not tested."""

    figure: str
    before: Share | None
    after: Share | None
    p: float | None
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """An AUROC in both; it has no counts in a report, so it is told and not judged."""

    figure: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The second report against the first."""

    before: str
    after: str
    changes: tuple[Change, ...]
    differences: tuple[Difference, ...]
    scores: tuple[Score, ...]

    @property
    def like(self) -> bool:
        """Whether both are the same test: data, images, threats, attacks, budgets, seeds."""
        return all(change.like for change in self.changes)

    @property
    def tested(self) -> int:
        """How many figures were tested, for which the p-values are corrected."""
        return sum(difference.p is not None for difference in self.differences)

    def with_outcome(self, *outcomes: Outcome) -> tuple[Difference, ...]:
        """Return the differences that came out so."""
        return tuple(one for one in self.differences if one.outcome in outcomes)

    @property
    def setbacks(self) -> tuple[Difference, ...]:
        """Figures that are worse beyond noise, or that the second report no longer tells."""
        return self.with_outcome(Outcome.WORSE, Outcome.LOST)

    def to_plain(self) -> dict[str, Any]:
        """Return the comparison as plain JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain | {"like": self.like, "tested": self.tested}


@dataclass(frozen=True, slots=True)
class _Figure:
    share: Share | None
    higher_is_better: bool


def compare(before: RobustnessReport, after: RobustnessReport) -> Comparison:
    """Return what is different in `after`, figures in the order of the reports."""
    first, second = _once_each(_figures(before)), _once_each(_figures(after))
    names = list(dict.fromkeys([*first, *second]))
    pairs = {name: (first.get(name), second.get(name)) for name in names}
    raw = {
        name: two_proportions(one.share, two.share)
        for name, (one, two) in pairs.items()
        if one and two and _told(one.share) and _told(two.share)
    }
    p_values = holm({name: p for name, p in raw.items() if p is not None})
    return Comparison(
        before=_name(before),
        after=_name(after),
        changes=tuple(_changes(before, after)),
        differences=tuple(
            _difference(name, one, two, p_values.get(name)) for name, (one, two) in pairs.items()
        ),
        scores=tuple(_scores(before, after)),
    )


def _once_each(named: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Return what is named; a name that comes again is numbered, so that nothing is lost."""
    found: dict[str, T] = {}
    seen: Counter[str] = Counter()
    for name, value in named:
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name} ({seen[name]})"] = value
    return found


def two_proportions(one: Share | None, two: Share | None) -> float | None:
    """Return the two-sided p-value of Fisher's exact test; None where there is nothing to test."""
    if one is None or two is None or not one.n or not two.n:
        return None
    from scipy.stats import fisher_exact

    table = [[one.count, one.n - one.count], [two.count, two.n - two.count]]
    return float(fisher_exact(table).pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's corrected p-values: that of rank i of m is at least (m - i) times itself."""
    corrected: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = largest
    return corrected


def _difference(name: str, one: _Figure | None, two: _Figure | None, p: float | None) -> Difference:
    before, after = _share(one), _share(two)
    return Difference(figure=name, before=before, after=after, p=p, outcome=_outcome(one, two, p))


def _outcome(one: _Figure | None, two: _Figure | None, p: float | None) -> Outcome:
    before, after = _share(one), _share(two)
    if one and two and before and after and p is not None:
        if p >= LEVEL:
            return Outcome.SAME
        rose = after.count * before.n > before.count * after.n
        return Outcome.BETTER if rose == one.higher_is_better else Outcome.WORSE
    if _told(before):
        return Outcome.LOST
    return Outcome.NEW if _told(after) else Outcome.WITHHELD


def _share(figure: _Figure | None) -> Share | None:
    return None if figure is None else figure.share


def _told(share: Share | None) -> bool:
    return share is not None and share.share is not None


def _figures(report: RobustnessReport) -> Iterator[tuple[str, _Figure]]:
    yield "clean accuracy", _Figure(report.clean_accuracy, True)
    if report.clean_flagged is not None:
        yield "clean images flagged", _Figure(report.clean_flagged, False)
    if report.clean_accepted_right is not None:
        yield "clean, right and accepted", _Figure(report.clean_accepted_right, True)
    for threat in report.threats:
        yield f"robust accuracy, {threat.threat}", _Figure(threat.robust_accuracy, True)
        if threat.with_detection is not None:
            yield f"with detection, {threat.threat}", _Figure(threat.with_detection, True)
    for attack in report.attacks:
        name = f"{attack.name}, {attack.threat}, knows {attack.knows}"
        yield f"accuracy under {name}", _Figure(attack.accuracy, True)
        if attack.accepted_wrong is not None:
            yield f"wrong and accepted under {name}", _Figure(attack.accepted_wrong, False)
    for corruption in report.corruptions:
        name = f"accuracy under {corruption.kind}, severity {corruption.severity}"
        yield name, _Figure(corruption.accuracy, True)
    for defence in report.preprocessing:
        yield f"clean accuracy behind {defence.name}", _Figure(defence.clean_accuracy, True)
        name = f"robust accuracy behind {defence.name}, {defence.attack}"
        yield name, _Figure(defence.robust_accuracy, True)
    yield from _certified(report)


def _certified(report: RobustnessReport) -> Iterator[tuple[str, _Figure]]:
    for result in report.certification:
        for curve in result.certified:
            for point in curve.points:
                share = Share.of(round(point.y * result.n), result.n)
                name = f"certified, {result.method}, {curve.name}, {result.norm} {point.x:g}"
                yield name, _Figure(share, True)


def _scores(before: RobustnessReport, after: RobustnessReport) -> Iterator[Score]:
    first, second = _once_each(_aurocs(before)), _once_each(_aurocs(after))
    for name in dict.fromkeys([*first, *second]):
        yield Score(figure=name, before=first.get(name), after=second.get(name))


def _aurocs(report: RobustnessReport) -> Iterator[tuple[str, float | None]]:
    for attack in report.attacks:
        for detection in attack.detections:
            if detection.score == "fused":
                yield f"AUROC, {attack.name}, {attack.threat}", detection.auroc


def _name(report: RobustnessReport) -> str:
    subject = report.subject
    return (
        f"{subject.name} {subject.version} ({subject.digest[:12]}), {report.circumstances.created}"
    )


Look = Callable[[RobustnessReport], str]

_CONDITIONS: Mapping[str, Look] = {
    "data set": lambda r: r.subject.dataset,
    "data set (SHA-256)": lambda r: r.subject.dataset_digest,
    "test images": lambda r: str(r.circumstances.n),
    "threats": lambda r: ", ".join(result.threat for result in r.threats),
    "quick": lambda r: "yes" if r.circumstances.quick else "no",
    "seed": lambda r: str(r.circumstances.seed),
    "images in a block": lambda r: str(r.circumstances.block),
}
_SUBJECT: Mapping[str, Look] = {
    "artifact": lambda r: r.subject.digest,
    "architecture": lambda r: r.subject.architecture,
    "recipe": lambda r: r.subject.recipe,
    "trained against": lambda r: r.subject.trained_against or "nothing recorded",
    "detector heads": lambda r: ", ".join(r.subject.heads) or "none",
    "device": lambda r: r.circumstances.device,
    "versions": lambda r: mapping_text(r.circumstances.versions),
    "failed checks": lambda r: ", ".join(c.name for c in r.checks if not c.passed) or "none",
}


def _changes(before: RobustnessReport, after: RobustnessReport) -> Iterator[Change]:
    """Yield what is not the same: first what makes it another test, then what is compared."""
    for looks, like in ((_CONDITIONS, False), (_SUBJECT, True)):
        for what, look in looks.items():
            if look(before) != look(after):
                yield Change(what=what, before=look(before), after=look(after), like=like)
        if not like:
            yield from _attack_changes(_attacks(before), _attacks(after))


def _attacks(report: RobustnessReport) -> dict[str, str]:
    told = ((f"{a.name}, {a.threat}", _budget(a)) for a in report.attacks)
    return _once_each(told)


def _budget(attack: AttackResult) -> str:
    return f"{mapping_text(attack.budget)}, seed {attack.seed}, {attack.attacked} images"


def _attack_changes(first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[Change]:
    names: Sequence[str] = list(dict.fromkeys([*first, *second]))
    for name in names:
        before, after = first.get(name, "not run"), second.get(name, "not run")
        if before != after:
            yield Change(what=f"attack {name}", before=before, after=after, like=False)
