"""Trials of the scan on data that was poisoned on purpose, so that its errors can be counted.

Import after `robustness.art_library.prepare()`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

import numpy as np

from robustness.poisoning.backdoors import (
    Poisoned,
    Trigger,
    backdoor,
    backdoor_success,
    clean_label_backdoor,
    flip_labels,
)
from robustness.poisoning.config import ScanConfig
from robustness.poisoning.evidence import Learn, Progress, look
from robustness.poisoning.scan import Scan, scan
from torchkeep.architectures import Classifier
from torchkeep.data import ImageSet

SHARES = (0.01, 0.05, 0.1)
SEEDS = (0, 1, 2)
FLIPPED = (0.01, 0.05)
CLASSES = 10
PROXY_SEED = 1000


class Attack(StrEnum):
    """What is done to the training data."""

    BACKDOOR = "backdoor"  # triggered, and labelled as one class
    CLEAN_LABEL = "clean-label"  # triggered within that class, the label true
    LABEL_FLIPS = "label flips"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One trial: an attack on `share` of all samples by a seed, which also chooses the target."""

    attack: Attack
    share: float
    seed: int
    trigger: Trigger | None = None

    @property
    def target(self) -> int:
        return self.seed % CLASSES


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a trial came to; rates are of 1, None where there is nothing to divide by.

    `success_before` is the backdoor's on a network trained on all samples, `success_after` on one
    trained without those that were flagged.
    """

    attack: Attack
    trigger: str | None
    share: float
    seed: int
    images: int
    poisoned: int
    found: int
    clean_flagged: int
    success_before: float | None
    success_after: float | None
    accuracy_before: float
    accuracy_after: float
    mean_confidence: float | None
    runtime_s: float

    @property
    def found_rate(self) -> float | None:
        """Share of the poisoned samples that are flagged."""
        return self.found / self.poisoned if self.poisoned else None

    @property
    def clean_rate(self) -> float:
        """Share of the clean samples that are flagged."""
        return self.clean_flagged / (self.images - self.poisoned)


def plans(*, every_share: bool) -> list[Plan]:
    """Return the trials of a demonstration.

    Three triggers by three seeds, with every share or with one that differs in each row and column;
    then label flips, clean-label poison, and clean data.
    """
    backdoors = [
        Plan(attack=Attack.BACKDOOR, trigger=trigger, share=share, seed=seed)
        for (row, trigger), seed, (column, share) in product(
            enumerate(Trigger), SEEDS, enumerate(SHARES)
        )
        if every_share or column == (row + seed) % len(SHARES)
    ]
    seeds = SEEDS if every_share else SEEDS[:1]
    flips = [
        Plan(attack=Attack.LABEL_FLIPS, share=share, seed=seed)
        for share, seed in product(FLIPPED if every_share else FLIPPED[-1:], seeds)
    ]
    clean_label = [
        Plan(attack=Attack.CLEAN_LABEL, trigger=Trigger.IMAGE, share=0.05, seed=seed)
        for seed in seeds
    ]
    clean = [Plan(attack=Attack.NONE, share=0, seed=seed) for seed in seeds]
    return [*backdoors, *flips, *clean_label, *clean]


def try_out(
    plan: Plan,
    data: ImageSet,
    test: ImageSet,
    classes: Sequence[str],
    config: ScanConfig,
    learn: Learn,
    progress: Progress,
) -> Trial:
    """Poison, scan, drop what is flagged, train anew, and count."""
    attacked = _attack(plan, data, len(classes), learn)
    config = replace(config, seed=config.seed + plan.seed)
    started = time.monotonic()
    scanned = scan(attacked.data, classes, config, learn, progress)
    runtime = time.monotonic() - started
    flagged = scanned.result.flagged
    left = attacked.data.subset(np.flatnonzero(~flagged))
    after = scanned.network
    if flagged.any():
        after = learn(left, seed=config.seed, step="train without the flagged")
    return Trial(
        attack=plan.attack,
        trigger=plan.trigger,
        share=plan.share,
        seed=plan.seed,
        images=len(data),
        poisoned=int(attacked.poisoned.sum()),
        found=int((flagged & attacked.poisoned).sum()),
        clean_flagged=int((flagged & ~attacked.poisoned).sum()),
        success_before=_success(plan, scanned.network, test),
        success_after=_success(plan, after, test),
        accuracy_before=_accuracy(scanned.network, test),
        accuracy_after=_accuracy(after, test),
        mean_confidence=_mean_confidence(scanned),
        runtime_s=round(runtime, 1),
    )


def _attack(plan: Plan, data: ImageSet, classes: int, learn: Learn) -> Poisoned:
    if plan.attack is Attack.NONE:
        return Poisoned(data, np.zeros(len(data), np.bool_))
    if plan.attack is Attack.LABEL_FLIPS:
        return flip_labels(data, classes, plan.share, plan.seed)
    trigger = plan.trigger or Trigger.PATTERN
    if plan.attack is Attack.BACKDOOR:
        return backdoor(data, trigger, plan.share, plan.target, plan.seed)
    proxy = learn(data, seed=plan.seed + PROXY_SEED, step="train the attacker's network")
    return clean_label_backdoor(data, trigger, plan.share, plan.target, plan.seed, proxy)


def _success(plan: Plan, network: Classifier, test: ImageSet) -> float | None:
    if plan.trigger is None:
        return None
    return backdoor_success(network, test, plan.trigger, plan.target)


def _accuracy(network: Classifier, test: ImageSet) -> float:
    _, probabilities = look(network, test.images)
    return float((probabilities.argmax(1) == test.labels).mean())


def _mean_confidence(scanned: Scan) -> float | None:
    findings = scanned.result.findings
    return float(np.mean([finding.confidence for finding in findings])) if findings else None
