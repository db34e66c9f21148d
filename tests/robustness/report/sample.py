"""Reports to render: a full one as an evaluation makes it, with names that mean harm."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from PIL import Image

from robustness.evaluation.report import (
    REPORT_SCHEMA,
    AttackResult,
    CertificationResult,
    Check,
    Circumstances,
    CorruptionResult,
    Curve,
    Detection,
    Example,
    Point,
    PreprocessingResult,
    RobustnessReport,
    Share,
    Subject,
    ThreatResult,
)
from torchkeep.artifact import ImageShape, Manifest

HOSTILE = '</table><script>alert("1")</script> | a `b` *c* ![x](https://x.example/y)\n# d \x1b[31m'
LONG = "x" * 400
N = 1000
HEADS = ("feature_squeezing", "layer_density", "perturbation")
THREATS = ("linf 0.3", "l2 2", "l1 10", "patch 0.05")
ATTACKS: Mapping[str, tuple[str, int]] = {
    "FGSM": ("network", 952),
    "PGD-40": ("network", 921),
    "APGD-CE": ("network", 911),
    "APGD-T": ("network", 903),
    "FAB-T": ("network", 906),
    "Square": ("answers", 917),
    "HopSkipJump": ("answers", 19),
    "Transfer": ("another network", 969),
    "Joint": ("network and detectors", 915),
    "Orthogonal": ("network and detectors", 920),
    "Feature matching": ("network and detectors", 931),
    "Square, joint criterion": ("network and detectors", 940),
}


def png(seed: int) -> str:
    """Return a noisy 28 x 28 picture, which compresses badly, as PNG in base64."""
    levels = np.random.default_rng(seed).integers(0, 256, (28, 28), np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@cache
def full(name: str = "mnist", threats: tuple[str, ...] = THREATS) -> RobustnessReport:
    """Return a report with every field filled; `name` is used wherever a stranger names things."""
    attacks = tuple(_attack(attack, threat) for threat in threats for attack in ATTACKS)
    return RobustnessReport(
        schema=REPORT_SCHEMA,
        subject=subject(name),
        circumstances=circumstances(),
        clean_accuracy=Share.of(984, N),
        clean_flagged=Share.of(9, N),
        clean_accepted_right=Share.of(977, N),
        checks=checks(),
        threats=tuple(
            ThreatResult(
                threat=threat,
                attacks=tuple(ATTACKS),
                robust_accuracy=Share.of(901 - 120 * place, N),
                with_detection=Share.of(938 - 150 * place, N),
                note="" if place == 0 else "not trained against",
            )
            for place, threat in enumerate(threats)
        ),
        attacks=attacks,
        security_curves=tuple(_security(threat) for threat in threats[:3]),
        roc=tuple(_roc(f"{attack.name}, {attack.threat}") for attack in attacks),
        densities=(_density("clean", 1.0), *(_density(attack, 3.0) for attack in ATTACKS)),
        corruptions=tuple(
            CorruptionResult(
                kind=kind,
                severity=severity,
                accuracy=Share.of(984 - 90 * severity - 9 * place, N),
                flagged=Share.of(60 * severity, N),
            )
            for place, kind in enumerate(("gaussian_noise", "fog", "jpeg", "contrast", name))
            for severity in range(1, 6)
        ),
        preprocessing=(
            PreprocessingResult(
                name="jpeg, quality 75",
                clean_accuracy=Share.of(195, 200),
                robust_accuracy=Share.of(171, 200),
                attack="PGD-40 through the defence, linf 0.3",
                source="Guo et al. 2018, arXiv:1711.00117",
            ),
        ),
        certification=(
            CertificationResult(
                method="linear bounds",
                norm="linf",
                certified=(curve("linear bounds", [(0.0, 0.98), (0.05, 0.9), (0.1, 0.71)]),),
                n=200,
                settings={"samples": 10_000, "alpha": 0.001},
                source="Zhang et al. 2018, arXiv:1811.00866",
            ),
        ),
        examples=tuple(
            Example(
                index=number,
                label=name,
                predicted="3",
                attack="Joint",
                threat="linf 0.3",
                flagged=number % 2 == 0,
                score=2.5 + number,
                before=png(3 * number),
                after=png(3 * number + 1),
                difference=png(3 * number + 2),
            )
            for number in range(24)
        ),
        not_run={"poisoning": "another verb: torchkeep scan-poison", name: "nobody asked for it"},
    )


def curve(name: str, points: Sequence[tuple[float, float]]) -> Curve:
    """Return a curve through the points."""
    return Curve(name=name, points=tuple(Point(x=x, y=y) for x, y in points))


def subject(name: str) -> Subject:
    """Return a subject that is called `name`."""
    return Subject(
        name=name,
        version="1.0",
        digest="0123456789abcdef" * 4,
        architecture="small_cnn",
        recipe="mnist-quick",
        dataset="mnist",
        dataset_digest="fedcba9876543210" * 4,
        classes=(*map(str, range(9)), name),
        input=(1, 28, 28),
        trained_against="linf 0.3",
        train_metrics={"clean_accuracy": 0.984, "pgd_accuracy": 0.92},
        heads=HEADS,
        threshold=4.605,
        target_fpr=0.01,
    )


def circumstances() -> Circumstances:
    """Return how it came about."""
    return Circumstances(
        command="torchkeep evaluate .torchkeep/artifacts/mnist-1.0 -n 1000",
        created="2026-01-02T03:04:05+00:00",
        quick=False,
        n=N,
        seed=7,
        block=100,
        hardware="x86_64, 2 cores, 8 GiB",
        device="cpu",
        versions={"torchkeep": "1.4.0", "torch": "2.13.0"},
        runtime_s=5432.1,
    )


def checks(*, fatal_failure: bool = False) -> tuple[Check, ...]:
    """Return five checks, of which one that is not fatal failed."""
    names = ("gradients do not vanish", "answers are fixed", "outputs are logits")
    source = "Athalye et al. 2018, arXiv:1802.00420"
    fatal = Check(
        name="more steps do not help",
        passed=not fatal_failure,
        fatal=True,
        seen="40 steps 92.1 %, 160 steps 91.8 %",
        source="Carlini et al. 2019, arXiv:1902.06705",
    )
    doubt = Check(
        name="attacks without gradients are no better",
        passed=False,
        fatal=False,
        seen="Square turned 3 images that APGD-T did not",
        source="Carlini et al. 2019, arXiv:1902.06705",
    )
    passed = (
        Check(name=name, passed=True, fatal=True, seen="0 of 1000", source=source) for name in names
    )
    return (*passed, fatal, doubt)


def manifest() -> Manifest:
    """Return the manifest of the artifact."""
    return Manifest(
        name="mnist",
        version="1.0",
        architecture="small_cnn",
        options={},
        input=ImageShape(channels=1, height=28, width=28),
        classes=tuple(map(str, range(10))),
        threat_model=None,
        train_record={"recipe": "mnist-quick", "dataset": {"name": "mnist", "digest": "fe" * 32}},
        metrics={"clean_accuracy": 0.984},
        screening=None,
    )


def _attack(name: str, threat: str) -> AttackResult:
    knows, held = ATTACKS[name]
    n = 20 if name == "HopSkipJump" else N
    return AttackResult(
        name=name,
        threat=threat,
        knows=knows,
        source="Croce and Hein 2020, arXiv:2003.01690",
        budget={"steps": 100, "restarts": 5, "rho": 0.75},
        seed=7,
        attacked=n,
        accuracy=Share.of(held, n),
        accepted_wrong=Share.of((n - held) // 2, n),
        detections=tuple(
            Detection(
                score=score,
                auroc=0.991 - 0.05 * place,
                tpr_at={"0.001": 0.61, "0.01": 0.874, "0.05": 0.953},
                flagged=Share.of(n * 4 // 5, n) if score == "fused" else None,
            )
            for place, score in enumerate(("fused", *HEADS))
        ),
        fitted_on=name == "PGD-40",
        runtime_s=123.456,
    )


def _security(threat: str) -> Curve:
    norm, radius = threat.split()
    return curve(norm, [(float(radius) * k / 4, 0.98 * (1 - k / 12) ** (k / 2)) for k in range(13)])


def _roc(name: str) -> Curve:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    clean, attacked = rng.normal(0, 1, N), rng.normal(rng.uniform(1.5, 4), 1.2, N)
    edges = np.sort(np.concatenate([clean, attacked]))[::-1]
    x, y = ((N - np.searchsorted(np.sort(part), edges)) / N for part in (clean, attacked))
    return curve(name, list(zip(x.tolist(), y.tolist(), strict=True)))


def _density(name: str, middle: float) -> Curve:
    middle += 0.2 * len(name)
    x = np.linspace(0, 12, 60)
    return curve(name, list(zip(x.tolist(), np.exp(-((x - middle) ** 2)).tolist(), strict=True)))
