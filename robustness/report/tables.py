"""The tables of a report."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.evaluation.report import (
    AttackResult,
    Circumstances,
    CorruptionResult,
    Curve,
    Detection,
    RobustnessReport,
    Share,
    Subject,
)
from robustness.evaluation.summary import share_text
from robustness.report.threat_catalogue import references
from robustness.report.wording import NOT_THERE, mapping_text, number_text
from torchkeep.render.page import Heat, Table

RATES = ("0.001", "0.01", "0.05")
FUSED = "fused"
MOST_RADII = 12
ADAPTIVE = "network and detectors"
"""What an adaptive attacker knows."""


def threat_table(report: RobustnessReport) -> Table:
    """Return the worst case per threat."""
    columns = ("threat", "attacks", "robust accuracy", "with detection", "note")
    return Table(
        columns,
        [
            (
                result.threat,
                ", ".join(result.attacks),
                share_text(result.robust_accuracy),
                share_text(result.with_detection),
                result.note or None,
            )
            for result in report.threats
        ],
    )


def attack_table(report: RobustnessReport) -> Table:
    """Return what each attack was allowed, and did."""
    columns = (
        "attack", "threat", "knows", "accuracy, detector off", "wrong and accepted",
        "budget and seed",
    )  # fmt: skip
    return Table(
        columns,
        [
            (
                attack.name,
                attack.threat,
                attack.knows,
                share_text(attack.accuracy),
                share_text(attack.accepted_wrong),
                _effort(attack),
            )
            for attack in report.attacks
        ],
    )


def adaptive_table(report: RobustnessReport) -> Table | None:
    """Return how often attacks that know the detectors win, without and with them; None if none."""
    columns = ("attack", "threat", "wins, detector off", "wins, detector on", "budget and seed")
    rows = [
        (
            attack.name,
            attack.threat,
            _lost(attack.accuracy),
            share_text(attack.accepted_wrong),
            _effort(attack),
        )
        for attack in report.attacks
        if attack.knows == ADAPTIVE
    ]
    return Table(columns, rows) if rows else None


def _effort(attack: AttackResult) -> str:
    return mapping_text({**attack.budget, "seed": attack.seed})


def _lost(accuracy: Share) -> str:
    told = accuracy.share is not None
    return share_text(Share.of(accuracy.n - accuracy.count, accuracy.n) if told else accuracy)


def source_table(report: RobustnessReport) -> Table:
    """Return where each attack comes from, and which entries of public catalogues it belongs to."""
    columns = ("attack", "threat", "detectors fitted on it", "source", "catalogues", "seconds")
    return Table(
        columns,
        [
            (
                attack.name,
                attack.threat,
                "yes" if attack.fitted_on else "no",
                attack.source,
                references(attack.knows),
                attack.runtime_s,
            )
            for attack in report.attacks
        ],
    )


def detection_table(report: RobustnessReport) -> Table:
    """Return how the fused score detects each attack."""
    names = [f"TPR at {float(rate):.1%}" for rate in RATES]
    columns = ("attack", "threat", "n", "AUROC", *names, "flagged")
    return Table(
        columns,
        [
            (
                attack.name,
                attack.threat,
                attack.attacked,
                detection.auroc,
                *(detection.tpr_at.get(rate) for rate in RATES),
                share_text(detection.flagged),
            )
            for attack in report.attacks
            for detection in attack.detections
            if detection.score == FUSED
        ],
    )


def head_table(report: RobustnessReport) -> Table | None:
    """Return how each detector alone does, a column a detector; None without detectors."""
    told = [
        (attack, {detection.score: detection for detection in attack.detections})
        for attack in report.attacks
        if attack.detections
    ]
    heads = dict.fromkeys(name for _, scores in told for name in scores if name != FUSED)
    if not heads:
        return None
    rows = [
        (attack.name, attack.threat, attack.attacked, *(_rates(scores.get(name)) for name in heads))
        for attack, scores in told
    ]
    return Table(("attack", "threat", "n", *heads), rows)


def _rates(detection: Detection | None) -> str | None:
    if detection is None or detection.auroc is None:
        return None
    rates = (detection.tpr_at.get(rate) for rate in RATES)
    told = ", ".join(NOT_THERE if rate is None else f"{rate:.1%}" for rate in rates)
    return f"{detection.auroc:.4f}; {told}"


def corruption_table(report: RobustnessReport) -> Table:
    """Return kinds by severities, each cell with a bar of its accuracy, and the flagged rate."""
    cells = {(result.kind, result.severity): result for result in report.corruptions}
    kinds = list(dict.fromkeys(kind for kind, _ in cells))
    severities = sorted({severity for _, severity in cells})
    head = ("kind", *(f"severity {severity}" for severity in severities))
    rows = [
        (kind, *(_corruption(cells.get((kind, severity))) for severity in severities))
        for kind in kinds
    ]
    return Table(head, rows)


def _corruption(result: CorruptionResult | None) -> object:
    if result is None:
        return None
    flagged = ""
    if result.flagged is not None and result.flagged.share is not None:
        flagged = f", flagged {result.flagged.share:.1%}"
    share = result.accuracy.share
    if share is None:
        return f"withheld{flagged}"
    return Heat(share, f"{share:.1%} of {result.accuracy.n}{flagged}")


def preprocessing_table(report: RobustnessReport) -> Table:
    """Return the preprocessing defences."""
    columns = ("defence", "clean accuracy", "robust accuracy", "attack", "source")
    return Table(
        columns,
        [
            (
                r.name,
                share_text(r.clean_accuracy),
                share_text(r.robust_accuracy),
                r.attack,
                r.source,
            )
            for r in report.preprocessing
        ],
    )


def certification_table(report: RobustnessReport) -> Table:
    """Return each certified curve at a few of its radii."""
    columns = ("method", "norm", "curve", "n", "certified share at radius", "settings", "source")
    return Table(
        columns,
        [
            (
                result.method,
                result.norm,
                curve.name,
                result.n,
                _points(curve),
                mapping_text(result.settings),
                result.source,
            )
            for result in report.certification
            for curve in result.certified
        ],
    )


def curve_table(curves: Sequence[Curve]) -> Table:
    """Return the points of curves in words."""
    return Table(("curve", "y at x"), [(curve.name, _points(curve)) for curve in curves])


def _points(curve: Curve) -> str:
    step = max(1, -(-len(curve.points) // MOST_RADII))
    return "; ".join(f"{p.y:.2%} at {p.x:g}" for p in curve.points[::step]) or NOT_THERE


def check_table(report: RobustnessReport) -> Table:
    """Return the checks, failed ones first."""
    ordered = sorted(report.checks, key=lambda check: (check.passed, not check.fatal))
    columns = ("check", "result", "fatal", "seen", "source")
    return Table(
        columns,
        [
            (
                c.name,
                "passed" if c.passed else "FAILED",
                "yes" if c.fatal else "no",
                c.seen,
                c.source,
            )
            for c in ordered
        ],
    )


def subject_table(subject: Subject) -> Table:
    """Return what was evaluated."""
    rows = [
        ("model", f"{subject.name} {subject.version}"),
        ("artifact (SHA-256)", subject.digest),
        ("architecture", subject.architecture),
        ("recipe", subject.recipe),
        ("trained against", subject.trained_against or "nothing recorded"),
        ("data set", subject.dataset),
        ("data set (SHA-256)", subject.dataset_digest),
        ("classes", ", ".join(subject.classes)),
        ("input", " × ".join(map(str, subject.input))),
        ("metrics of the training", mapping_text(subject.train_metrics)),
        ("detector heads", ", ".join(subject.heads) or "none"),
        ("threshold", number_text(subject.threshold)),
        ("target false-positive rate", number_text(subject.target_fpr)),
    ]
    return Table(("what", "value"), rows)


def circumstance_table(told: Circumstances) -> Table:
    """Return how the report came about."""
    rows = [
        ("command", told.command),
        ("created", told.created),
        ("quick", "yes: weaker attacks" if told.quick else "no"),
        ("images", str(told.n)),
        ("seed", str(told.seed)),
        ("block", str(told.block)),
        ("hardware", told.hardware),
        ("device", told.device),
        ("versions", mapping_text(told.versions)),
        ("runtime", f"{told.runtime_s:.0f} s"),
    ]
    return Table(("what", "value"), rows)
