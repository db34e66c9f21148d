"""Carry out an evaluation as ordered: data, plan, workers, report, files."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from robustness.certification.curve import has_rules
from robustness.evaluation.assembly import assemble, work_seconds
from robustness.evaluation.plan import Plan
from robustness.evaluation.pool import carry_out
from robustness.evaluation.report import RobustnessReport
from robustness.evaluation.results import Results
from robustness.evaluation.samples import samples_csv
from robustness.evaluation.standard import Scope, default_threats, tasks
from robustness.evaluation.store import Material, Store
from robustness.report.write import write_report
from robustness.screened_model import load_classifier
from torchkeep.artifact import ModelArtifact
from torchkeep.atomic_file import write_atomic
from torchkeep.cli.preparation import recorded_splits, torch_device
from torchkeep.code_digest import code_digest
from torchkeep.data import ImageSet, Splits
from torchkeep.errors import SettingsError
from torchkeep.paths import Home
from torchkeep.progress import Report
from torchkeep.threat_model import Threat, ThreatModel, parse_threat

IMAGES = 1000
QUICK_IMAGES = 100
GUIDES = 200
"""Clean training images, whose activations attackers imitate."""
SAMPLES = "samples.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An evaluation as ordered on the command line."""

    artifact: Path
    quick: bool = False
    images: int | None = None
    first: int = 0
    attacks: tuple[str, ...] = ()
    threats: tuple[str, ...] = ()
    transfer_from: Path | None = None
    data: str | None = None
    seed: int = 0
    processes: int | None = None
    block: int = 100
    device: str = "cpu"
    time_limit: float | None = None
    out: Path | None = None

    @property
    def command(self) -> str:
        """The command line that repeats this evaluation's figures."""
        words = ["torchkeep", "evaluate", str(self.artifact)]
        words += ["--quick"] if self.quick else []
        words += ["-n", str(self.images)] if self.images else []
        words += ["--first", str(self.first)] if self.first else []
        for name in self.attacks:
            words += ["--attack", name]
        for text in self.threats:
            words += ["--threat", text]
        words += ["--transfer-from", str(self.transfer_from)] if self.transfer_from else []
        words += ["--data", self.data] if self.data else []
        words += ["--seed", str(self.seed), "--block", str(self.block), "--device", self.device]
        return shlex.join(words)


def run(order: Order, report: Report) -> tuple[RobustnessReport, dict[str, Path]]:
    """Carry out an evaluation, or go on with it, and write its report; returns where that is.

    Raises `SettingsError` for what cannot be done, before anything is begun.
    """
    began = time.monotonic()
    artifact = ModelArtifact.load(order.artifact)
    source = ModelArtifact.load(order.transfer_from) if order.transfer_from else None
    _require_same_input(artifact, source)
    torch_device(order.device)
    trained, others = _threats(order, artifact)
    splits = recorded_splits(artifact, order.data)
    test = _images(order, splits)
    bounded = has_rules(load_classifier(artifact), torch.zeros(1, *artifact.manifest.input.chw))
    scope = Scope(
        trained=trained,
        others=others,
        attacks=tuple(dict.fromkeys(order.attacks)),
        quick=order.quick,
        shape=artifact.manifest.input.chw,
        classes=len(artifact.manifest.classes),
        detectors=artifact.manifest.screening is not None,
        source=source is not None,
        bounds=bounded and not _preprocessed(artifact),
    )
    material = _material(test, splits, order.seed)
    plan = Plan(
        artifact_digest=artifact.digest,
        dataset_digest=str(artifact.manifest.train_record["dataset"]["digest"]),
        source_digest=source.digest if source else None,
        n=len(test),
        first=order.first,
        seed=order.seed,
        block=order.block,
        device=order.device,
        code=f"{code_digest('robustness')[:16]}, torch {torch.__version__}",
        material=material.digest(),
        tasks=tasks(scope),
    )
    folder = _folder(artifact, plan)
    store = Store.make(folder, plan, material)
    deadline = None if order.time_limit is None else began + 60 * order.time_limit
    carry_out(store, _paths(order), _processes(order), report, deadline)
    results = Results(store)
    made = assemble(
        results,
        artifact,
        str(trained),
        command=order.command,
        quick=order.quick,
        runtime_s=work_seconds(results),
        not_run=_not_run(order, scope),
    )
    out = order.out or folder
    paths = dict(write_report(out, made, artifact.manifest))
    write_atomic(out / SAMPLES, samples_csv(results).encode())
    return made, {**paths, "samples": out / SAMPLES}


def _threats(order: Order, artifact: ModelArtifact) -> tuple[ThreatModel, tuple[Threat, ...]]:
    """Return the threat that counts as trained against, and the others."""
    given = tuple(dict.fromkeys(parse_threat(text) for text in order.threats))
    trained = given[0] if given else artifact.manifest.threat_model
    if trained is None:
        raise SettingsError(
            f"{artifact.path} was trained against no threat",
            remedy="Name the one to evaluate, such as --threat linf:0.1.",
        )
    if not isinstance(trained, ThreatModel):
        raise SettingsError(
            f"{trained} cannot come first", remedy="Name a norm first, such as linf:0.3."
        )
    if given or order.attacks:
        return trained, given[1:]
    return trained, default_threats(artifact.manifest.input.chw, trained)


def _images(order: Order, splits: Splits) -> ImageSet:
    """Return the test images that were ordered."""
    available = len(splits.test) - order.first
    wanted = order.images or min(QUICK_IMAGES if order.quick else IMAGES, max(available, 1))
    if wanted > available:
        raise SettingsError(
            f"{wanted} images from {order.first} on, of a test set of {len(splits.test)}",
            remedy=f"Give -n up to {max(available, 0)}, or a smaller --first.",
        )
    return splits.test.subset(range(order.first, order.first + wanted))


def _material(test: ImageSet, splits: Splits, seed: int) -> Material:
    drawn = np.random.default_rng(seed).permutation(len(splits.train))[:GUIDES]
    guides = splits.train.subset(drawn)
    return Material(test.images, test.labels, guides.images, guides.labels)


def _require_same_input(artifact: ModelArtifact, source: ModelArtifact | None) -> None:
    if source is None:
        return
    ours, theirs = artifact.manifest, source.manifest
    if (ours.input, ours.classes) != (theirs.input, theirs.classes):
        raise SettingsError(
            f"{source.path} takes other images or has other classes than {artifact.path}",
            remedy="Transfer from a network for the same task.",
        )


def _folder(artifact: ModelArtifact, plan: Plan) -> Path:
    manifest = artifact.manifest
    name = f"{manifest.name}-{manifest.version}-{plan.digest()[:12]}"
    return Home.default().evaluations / name


def _preprocessed(artifact: ModelArtifact) -> bool:
    """Whether what is served is more than the network that bounds are proved of."""
    return bool((artifact.manifest.screening or {}).get("preprocessing"))


def _paths(order: Order) -> list[Path]:
    return [order.artifact, *([order.transfer_from] if order.transfer_from else [])]


def _processes(order: Order) -> int:
    if order.processes is not None:
        return order.processes
    if order.device != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _not_run(order: Order, scope: Scope) -> Mapping[str, str]:
    """Return what the report does not say, and why."""
    missing = {}
    if order.attacks:
        missing["the standard attacks"] = f"only {', '.join(order.attacks)} was asked for"
        missing["the checks of radius, steps and restarts"] = (
            "they need the standard attacks; robust accuracy is that under the named attacks alone"
        )
    if order.quick:
        missing["AutoAttack and the full budgets"] = "--quick"
    if not scope.source and not order.attacks:
        missing["transfer"] = "no second network was named (--transfer-from)"
    if not scope.detectors:
        missing["detection"] = "the artifact has no detectors (torchkeep fit-detectors)"
    if not scope.bounds:
        missing["certificates"] = "bounds know no rules for this network or its preprocessing"
    return missing
