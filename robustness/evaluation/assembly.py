"""The report of a finished evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from robustness.evaluation.circumstances import hardware, versions
from robustness.evaluation.examples import examples
from robustness.evaluation.figures import Figures
from robustness.evaluation.report import (
    REPORT_SCHEMA,
    Circumstances,
    RobustnessReport,
    Share,
    Subject,
)
from robustness.evaluation.results import Results
from robustness.evaluation.sanity import checks, doubtful
from robustness.second_look import NAME as SECOND_LOOK
from torchkeep.artifact import Manifest, ModelArtifact


def assemble(
    results: Results,
    artifact: ModelArtifact,
    trained: str,
    *,
    command: str,
    quick: bool,
    runtime_s: float,
    not_run: Mapping[str, str],
) -> RobustnessReport:
    """Put everything together; robust accuracies are withheld if a fatal check failed."""
    subject = describe(artifact)
    found = checks(results, trained)
    figures = Figures(results, subject.heads, doubtful(found))
    clean, n = results.clean, results.plan.n
    everything = np.ones(n, np.bool_)
    accepted_right = int((clean["right"] & ~clean["suspicious"]).sum())
    return RobustnessReport(
        schema=REPORT_SCHEMA,
        subject=subject,
        circumstances=_circumstances(results, command, quick, runtime_s),
        clean_accuracy=Share.of(int(clean["right"].sum()), n),
        clean_flagged=figures.flagged(clean, everything),
        clean_accepted_right=Share.of(accepted_right, n) if subject.heads else None,
        checks=found,
        threats=tuple(figures.threats()),
        attacks=tuple(figures.attacks()),
        security_curves=tuple(figures.security_curves()),
        roc=tuple(figures.roc()),
        densities=tuple(figures.densities()),
        corruptions=tuple(figures.corruptions()),
        preprocessing=tuple(figures.preprocessing()),
        certification=tuple(figures.certification()),
        examples=tuple(examples(results, subject.classes, detectors=bool(subject.heads))),
        not_run=dict(not_run),
    )


def describe(artifact: ModelArtifact) -> Subject:
    """Return what an artifact says of itself."""
    manifest = artifact.manifest
    screening: Mapping[str, Any] = manifest.screening or {}
    calibration = screening.get("calibration", {})
    dataset = manifest.train_record.get("dataset", {})
    heads = tuple(head["name"] for head in screening.get("heads", ()))
    heads += (SECOND_LOOK,) if SECOND_LOOK in screening else ()
    return Subject(
        name=manifest.name,
        version=manifest.version,
        digest=artifact.digest,
        architecture=manifest.architecture,
        recipe=str(manifest.train_record.get("recipe", "")),
        dataset=str(dataset.get("name", "")),
        dataset_digest=str(dataset.get("digest", "")),
        classes=manifest.classes,
        input=manifest.input.chw,
        trained_against=_threat(manifest),
        train_metrics=dict(manifest.metrics),
        heads=heads,
        threshold=calibration.get("threshold"),
        target_fpr=calibration.get("target_fpr"),
    )


def _threat(manifest: Manifest) -> str | None:
    return str(manifest.threat_model) if manifest.threat_model else None


def _circumstances(results: Results, command: str, quick: bool, runtime_s: float) -> Circumstances:
    plan = results.plan
    return Circumstances(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        quick=quick,
        n=plan.n,
        seed=plan.seed,
        block=plan.block,
        hardware=hardware(plan.device),
        device=plan.device,
        versions=versions(),
        runtime_s=runtime_s,
    )


def work_seconds(results: Results) -> float:
    """Return the seconds of all tasks together, over all workers and runs."""
    return sum(results.store.seconds(task) for task in results.plan.tasks)
