"""What a report must reach: requirements such as `robust[linf 0.3]>=0.85`, and what fails them.

    requirement = number | figure [ "[" of "]" ] ( ">=" | "<=" ) number

Point estimates are compared; a failure tells the interval too. A figure that is withheld, or not in
the report, fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from robustness.evaluation.report import RobustnessReport, Share, ThreatResult
from robustness.evaluation.summary import share_text
from robustness.report.wording import doubts
from torchkeep.errors import SettingsError
from torchkeep.render.plain import one_line
from torchkeep.threat_model import parse_threat

FIGURES = {
    "clean": "no",
    "fpr": "no",
    "robust": "may",
    "with-detection": "may",
    "auroc": "must",
    "certified": "must",
}
"""Each figure, and whether it names what it is of in brackets."""
LONGEST = 500
LONGEST_FOUND = 400
REMEDY = (
    "Write 0.85, clean>=0.97, robust[linf 0.3]>=0.85, with-detection>=0.8, fpr<=0.01, "
    "auroc[APGD-CE]>=0.99 or certified[linf 0.1]>=0.97."
)
_NUMBER = r"(?:1(?:\.0*)?|0?\.[0-9]+|0(?:\.0*)?)"
_WHOLE = re.compile(
    rf"(?P<figure>[a-z-]+)(?:\[(?P<of>[^\[\]\n]+)\])?\s*(?P<sign>>=|<=)\s*(?P<limit>{_NUMBER})"
)
_BARE = re.compile(_NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One figure (`of` a threat or an attack; "": the trained one) and the limit it must keep."""

    figure: str
    of: str = ""
    sign: Literal[">=", "<="] = ">="
    limit: float

    def __post_init__(self) -> None:
        if self.figure not in FIGURES:
            raise SettingsError(f"{self.figure!r} is no figure of a report", remedy=REMEDY)
        if not 0 <= self.limit <= 1:
            raise SettingsError(f"limit {self.limit} is not in 0..1", remedy=REMEDY)
        brackets = FIGURES[self.figure]
        if (self.of and brackets == "no") or (not self.of and brackets == "must"):
            need = "takes no" if self.of else "needs a name in"
            raise SettingsError(f"{self.figure} {need} [...]", remedy=REMEDY)
        if (self.sign == "<=") != (self.figure == "fpr"):
            way = "<=" if self.figure == "fpr" else ">="
            raise SettingsError(f"{self.figure} takes {way}", remedy=REMEDY)

    def __str__(self) -> str:
        of = f"[{self.of}]" if self.of else ""
        return f"{self.figure}{of}{self.sign}{_plain_number(self.limit)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A requirement that is not met, and what the report says instead."""

    requirement: Requirement
    found: str

    def __str__(self) -> str:
        return f"{self.requirement} is not met: {self.found}"


def parse_requirement(text: str) -> Requirement:
    """Read one requirement. Raises `SettingsError`."""
    text = text.strip()
    if len(text) > LONGEST:
        raise SettingsError(f"a requirement of {len(text)} characters", remedy=REMEDY)
    if _BARE.fullmatch(text):
        return Requirement(figure="robust", limit=float(text))
    match = _WHOLE.fullmatch(text)
    if match is None:
        raise SettingsError(f"{text!r} is no requirement", remedy=REMEDY)
    figure, of = match["figure"], (match["of"] or "").strip()
    if match["of"] is not None and not of:
        raise SettingsError(f"{text!r} names nothing in [...]", remedy=REMEDY)
    if of and figure in ("robust", "with-detection", "certified"):
        of = str(parse_threat(of))
    sign: Literal[">=", "<="] = ">=" if match["sign"] == ">=" else "<="
    return Requirement(figure=figure, of=of, sign=sign, limit=float(match["limit"]))


def failures(report: RobustnessReport, requirements: Sequence[Requirement]) -> tuple[Failure, ...]:
    """Return the requirements that the report does not meet, in their order."""
    found = [
        (requirement, _LOOK[requirement.figure](report, requirement.of))
        for requirement in requirements
    ]
    return tuple(
        Failure(requirement=requirement, found=one_line(text, LONGEST_FOUND))
        for requirement, (value, text) in found
        if value is None or not _kept(requirement, value)
    )


def _plain_number(limit: float) -> str:
    """Return the shortest digits that are read as `limit`, never with an exponent."""
    return format(Decimal(repr(float(limit))), "f")


Found = tuple[float | None, str]


def _kept(requirement: Requirement, value: float) -> bool:
    if requirement.sign == ">=":
        return value >= requirement.limit
    return value <= requirement.limit


def _of_share(report: RobustnessReport, share: Share | None, missing: str) -> Found:
    if share is None:
        return None, missing
    if share.share is None:
        return None, f"withheld: {doubts(report)}" if share.n else "withheld: no image"
    return share.share, share_text(share)


def _threat(report: RobustnessReport, of: str) -> ThreatResult | None:
    wanted = of or report.subject.trained_against
    if wanted is None:
        return report.threats[0] if len(report.threats) == 1 else None
    return next((result for result in report.threats if result.threat == wanted), None)


def _clean(report: RobustnessReport, _: str) -> Found:
    return _of_share(report, report.clean_accuracy, "")


def _fpr(report: RobustnessReport, _: str) -> Found:
    return _of_share(report, report.clean_flagged, "the report has no detectors")


def _robust(report: RobustnessReport, of: str) -> Found:
    result = _threat(report, of)
    return _of_share(report, result.robust_accuracy if result else None, _no_threat(report, of))


def _with_detection(report: RobustnessReport, of: str) -> Found:
    result = _threat(report, of)
    missing = "the report has no detectors" if result else _no_threat(report, of)
    return _of_share(report, result.with_detection if result else None, missing)


def _no_threat(report: RobustnessReport, of: str) -> str:
    wanted = of or report.subject.trained_against or "the trained threat (none is recorded)"
    there = ", ".join(result.threat for result in report.threats) or "none"
    return f"{wanted} was not attacked; the report has {there}"


def _auroc(report: RobustnessReport, of: str) -> Found:
    """Return the worst over the threats, since an attack may be in the report for several."""
    values = [
        (detection.auroc, attack.attacked)
        for attack in report.attacks
        if attack.name == of
        for detection in attack.detections
        if detection.score == "fused"
    ]
    if not values:
        return None, f"no AUROC of the fused score for {of}"
    known = [(auroc, n) for auroc, n in values if auroc is not None]
    if len(known) < len(values):
        return None, "the AUROC could not be computed"
    auroc, n = min(known)
    return auroc, f"{auroc:.4f}, n = {n}"


def _certified(report: RobustnessReport, of: str) -> Found:
    """Return the best certified share at exactly this radius, or at the next larger one told."""
    norm, _, radius = of.partition(" ")
    best = [
        (min((p.x, p.y) for p in curve.points if p.x >= float(radius))[1], result)
        for result in report.certification
        if result.norm == norm
        for curve in result.certified
        if any(p.x >= float(radius) for p in curve.points)
    ]
    if not best:
        return None, f"nothing is certified at {of}"
    share, result = max(best, key=lambda pair: pair[0])
    count = round(share * result.n)
    return share, f"{share_text(Share.of(count, result.n))}, {result.method}"


_LOOK: dict[str, Callable[[RobustnessReport, str], Found]] = {
    "clean": _clean,
    "fpr": _fpr,
    "robust": _robust,
    "with-detection": _with_detection,
    "auroc": _auroc,
    "certified": _certified,
}
