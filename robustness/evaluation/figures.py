"""From per-image results to the figures of a report. Shapes: N images, S heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustness.attacks.catalogue import AUTOATTACK
from robustness.detection_metrics import auroc, density, roc_points, tpr_at_fpr
from robustness.evaluation.plan import Kind, Purpose, Task
from robustness.evaluation.report import (
    AttackResult,
    CertificationResult,
    CorruptionResult,
    Curve,
    Detection,
    Point,
    PreprocessingResult,
    Share,
    ThreatResult,
)
from robustness.evaluation.results import Mask, Results, wrong
from robustness.evaluation.store import Columns
from robustness.evaluation.tasks import (
    CERTIFICATE_SOURCES,
    Described,
    certificate_radii,
    described,
)
from robustness.second_look import NAME as SECOND_LOOK
from torchkeep.threat_model import Norm

FALSE_POSITIVE_RATES = (0.001, 0.01, 0.05)
FITTED_ON = frozenset({"pgd"})
"""Attacks that detectors are fitted on (`robustness/fitting.py`)."""
DENSITY_BINS = 60


@dataclass(frozen=True, slots=True)
class Figures:
    """Makes the figures; `heads` names the detectors, `withheld` hides robust accuracies."""

    results: Results
    heads: tuple[str, ...]
    withheld: bool

    def robust(self, mask: Mask) -> Share:
        """Return the share of images in `mask` (N), which is only an upper bound if doubtful."""
        return self.doubted(Share.of(int(mask.sum()), len(mask)))

    def doubted(self, share: Share) -> Share:
        """Return a share as it may be told: nothing of it but n where a fatal check failed."""
        if not self.withheld:
            return share
        return replace(share, count=0, share=None, low=0.0, high=1.0)

    def flagged(self, columns: Columns, among: Mask) -> Share | None:
        """Return how many images of `among` (N) are flagged; None without detectors."""
        if not self.heads:
            return None
        return Share.of(int((columns["suspicious"] & among).sum()), int(among.sum()))

    def attacks(self) -> Iterator[AttackResult]:
        """Yield a result for each attack, and one for each standard ensemble that is whole."""
        for task in self.results.strikes(purpose=Purpose.RESULT):
            yield self._attack(task)
        for threat in self._threats():
            members = self._ensemble(threat)
            if members:
                yield self._autoattack(threat, members)

    def _threats(self) -> list[str]:
        return list(dict.fromkeys(task.threat for task in self.results.strikes()))

    def _ensemble(self, threat: str) -> list[Task]:
        """Return the four attacks of AutoAttack where all were run with the standard budget."""
        tasks = [
            task
            for task in self.results.strikes(threat=threat, purpose=Purpose.RESULT)
            if task.name in AUTOATTACK and task.effort == "standard" and not task.options
        ]
        return tasks if tuple(task.name for task in tasks) == AUTOATTACK else []

    def _attack(self, task: Task) -> AttackResult:
        columns, told = self.results.of(task.key), described(task, self.results.plan)
        among = columns["attacked"]
        lost = wrong(columns)
        unseen = int((lost & ~columns["suspicious"]).sum())
        n = int(among.sum())
        return AttackResult(
            **_head(task, told),
            budget=told.budget,
            seed=self.results.plan.seed,
            attacked=n,
            accuracy=self.robust(~lost[among]),
            accepted_wrong=self.doubted(Share.of(unseen, n)) if self.heads else None,
            detections=tuple(self._detections(columns, moved_of(columns))),
            fitted_on=task.name in FITTED_ON,
            runtime_s=self.results.store.seconds(task),
        )

    def _autoattack(self, threat: str, members: Sequence[Task]) -> AttackResult:
        n, right = self.results.plan.n, self.results.clean["right"]
        lost = self.results.turned(members)
        return AttackResult(
            name="AutoAttack (standard)",
            threat=threat,
            knows="network",
            source="Croce and Hein 2020, Reliable evaluation of adversarial robustness",
            budget={"attacks": len(members)},
            seed=self.results.plan.seed,
            attacked=n,
            accuracy=self.robust(right & ~lost),
            accepted_wrong=None,
            detections=(),
            fitted_on=False,
            runtime_s=sum(self.results.store.seconds(task) for task in members),
        )

    def _detections(self, columns: Columns, among: Mask) -> Iterator[Detection]:
        if not self.heads:
            return
        clean = self.results.clean
        yield self._detection("fused", clean["score"], columns["score"][among], columns, among)
        for place, name in enumerate(self.heads):
            scores = -np.log(np.maximum(columns["head_p"][among, place], 1e-30))
            usual = -np.log(np.maximum(clean["head_p"][:, place], 1e-30))
            yield self._detection(name, usual, scores, None, among)

    def _detection(
        self,
        score: str,
        clean: NDArray[np.float32],
        attacked: NDArray[np.float32],
        columns: Columns | None,
        among: Mask,
    ) -> Detection:
        seen = len(attacked) > 0
        return Detection(
            score=score,
            auroc=auroc(clean, attacked) if seen else None,
            tpr_at={
                f"{rate:g}": float(tpr_at_fpr(clean, attacked, rate)) if seen else None
                for rate in FALSE_POSITIVE_RATES
            },
            flagged=self.flagged(columns, among) if columns is not None else None,
        )

    def threats(self) -> Iterator[ThreatResult]:
        """Yield the worst case per image within each threat."""
        clean = self.results.clean
        for threat in dict.fromkeys(
            task.threat for task in self.results.strikes(purpose=Purpose.RESULT)
        ):
            tasks = self.results.strikes_within(threat)
            held = clean["right"] & ~self.results.turned(tasks)
            accepted = clean["right"] & ~clean["suspicious"] & ~self.results.won(tasks)
            adaptive = any(task.kind is Kind.ADAPTIVE for task in tasks)
            yield ThreatResult(
                threat=threat,
                attacks=tuple(dict.fromkeys(task.title for task in tasks)),
                robust_accuracy=self.robust(held),
                with_detection=self.robust(accepted) if self.heads and adaptive else None,
                note=self._note(adaptive),
            )

    def _note(self, adaptive: bool) -> str:
        if not self.heads:
            return ""
        if not adaptive:
            return NOT_ADAPTIVE
        return AIM_BELOW_SECOND_LOOK if SECOND_LOOK in self.heads else ""

    def security_curves(self) -> Iterator[Curve]:
        """Yield accuracy over radius, a curve a norm; nothing where figures are withheld."""
        if self.withheld:
            return
        by_norm: dict[str, list[Task]] = {}
        for task in self.results.strikes(purpose=Purpose.CURVE):
            by_norm.setdefault(task.threat.split()[0], []).append(task)
        clean = self.results.clean["right"]
        for norm, tasks in by_norm.items():
            points = [Point(x=0.0, y=float(clean.mean()))]
            for task in tasks:
                left = clean & ~wrong(self.results.of(task.key))
                points.append(Point(x=float(task.threat.split()[1]), y=float(left.mean())))
            yield Curve(name=norm, points=tuple(sorted(points, key=lambda point: point.x)))

    def roc(self) -> Iterator[Curve]:
        """Yield the detection rate over the false-positive rate, a curve an attack."""
        for task, scores in self._scored():
            x, y = roc_points(self.results.clean["score"], scores)
            points = zip(x, y, strict=True)
            yield Curve(
                name=f"{task.title}, {task.threat}",
                points=tuple(Point(x=float(a), y=float(b)) for a, b in points),
            )

    def densities(self) -> Iterator[Curve]:
        """Yield how fused scores are spread: of clean images, and of each attack."""
        scored = list(self._scored())
        if not scored:
            return
        clean = self.results.clean["score"]
        everything = np.concatenate([clean, *(scores for _, scores in scored)])
        edges = np.linspace(everything.min(), everything.max() + 1e-6, DENSITY_BINS + 1)
        middles = (edges[1:] + edges[:-1]) / 2
        named = [("clean", clean)]
        named += [(f"{task.title}, {task.threat}", scores) for task, scores in scored]
        for name, scores in named:
            heights = density(scores, edges)
            points = zip(middles, heights, strict=True)
            yield Curve(name=name, points=tuple(Point(x=float(a), y=float(b)) for a, b in points))

    def _scored(self) -> Iterator[tuple[Task, NDArray[np.float32]]]:
        """Yield the fused scores of each attack that was run on images enough to draw."""
        if not self.heads:
            return
        for task in self.results.strikes(purpose=Purpose.RESULT):
            columns = self.results.of(task.key)
            among = moved_of(columns)
            if among.sum() >= FEWEST_TO_DRAW:
                yield task, columns["score"][among]

    def corruptions(self) -> Iterator[CorruptionResult]:
        """Yield accuracy and false alarms of each corruption and severity."""
        everything = np.ones(self.results.plan.n, np.bool_)
        for task in self.results.of_kind(Kind.CORRUPTION):
            columns = self.results.of(task.key)
            yield CorruptionResult(
                kind=task.name,
                severity=int(task.options["severity"]),
                accuracy=Share.of(int(columns["right"].sum()), self.results.plan.n),
                flagged=self.flagged(columns, everything),
            )

    def preprocessing(self) -> Iterator[PreprocessingResult]:
        """Yield each preprocessing defence, clean and attacked through itself."""
        for task in self.results.of_kind(Kind.DEFENCE):
            columns = self.results.of(task.key)
            counted = columns["counted"]
            right = columns["right_clean"][counted]
            told = described(task, self.results.plan)
            yield PreprocessingResult(
                name=task.name,
                clean_accuracy=Share.of(int(right.sum()), len(right)),
                robust_accuracy=self.robust(columns["right"][counted]),
                attack=f"{task.title}, {task.threat}",
                source=told.source,
            )

    def certification(self) -> Iterator[CertificationResult]:
        """Yield the accuracy that is proved, over the radius."""
        for task in self.results.of_kind(Kind.CERTIFICATE):
            columns = self.results.of(task.key)
            counted = columns["counted"]
            right = self.results.clean["right"][counted]
            shares = [right.mean(), *columns["proved"][counted].mean(0)]
            radii = (0.0, *certificate_radii(task.threat))
            points = zip(radii, shares, strict=True)
            curve = tuple(Point(x=x, y=float(y)) for x, y in points)
            yield CertificationResult(
                method=task.name,
                norm=task.threat.split()[0],
                certified=(Curve(name=task.name, points=curve),),
                n=int(counted.sum()),
                settings={},
                source=CERTIFICATE_SOURCES[task.name],
            )


def moved_of(columns: Columns) -> Mask:
    """Return which images (N) an attack moved: FAB leaves those it cannot turn as they are."""
    mask: Mask = columns["attacked"] & (columns[str(Norm.LINF)] > 0)
    return mask


FEWEST_TO_DRAW = 20
AIM_BELOW_SECOND_LOOK = (
    "the attackers aimed below the score that calls for a second look, with no gradient through it"
)
NOT_ADAPTIVE = "no attack here knew the detectors, so no figure with detection is told"


def _head(task: Task, told: Described) -> dict[str, str]:
    return {
        "name": task.title,
        "threat": task.threat,
        "knows": told.knows,
        "source": told.source,
    }
