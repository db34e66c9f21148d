"""The adaptive attacks by name, each with its source and its standard and its quick budget."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from robustness.adaptive.adaptive_attack import AdaptiveAttack
from robustness.adaptive.feature_matching import FeatureMatching
from robustness.adaptive.joint_attack import JointAttack
from robustness.adaptive.joint_square import JointSquare
from robustness.adaptive.orthogonal_pgd import OrthogonalPGD
from robustness.attacks.catalogue import Effort
from torchkeep.errors import SettingsError
from torchkeep.threat_model import Threat, ThreatModel

Make = Callable[[ThreatModel, int, bool], AdaptiveAttack]
"""Of a threat, a seed, and whether the budget is the quick one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An adaptive attack: it knows the network and the detectors."""

    title: str
    source: str
    make: Make


def _joint(threat: ThreatModel, seed: int, quick: bool) -> AdaptiveAttack:
    steps, rounds = (30, 3) if quick else (100, 8)
    return JointAttack(threat=threat, steps=steps, rounds=rounds, seed=seed)


def _orthogonal(threat: ThreatModel, seed: int, quick: bool) -> AdaptiveAttack:
    steps, restarts = (30, 2) if quick else (100, 4)
    return OrthogonalPGD(threat=threat, steps=steps, restarts=restarts, seed=seed)


def _feature_matching(threat: ThreatModel, seed: int, quick: bool) -> AdaptiveAttack:
    steps, polish, tried = (20, 10, 1) if quick else (60, 40, 3)
    return FeatureMatching(threat=threat, steps=steps, polish=polish, guides_tried=tried, seed=seed)


def _joint_square(threat: ThreatModel, seed: int, quick: bool) -> AdaptiveAttack:
    return JointSquare(threat=threat, queries=200 if quick else 2000, seed=seed)


ADAPTIVE: Mapping[str, Entry] = {
    "joint": Entry(
        title="Joint APGD",
        source="Carlini and Wagner 2017, section 4; Tramèr et al. 2020",
        make=_joint,
    ),
    "orthogonal": Entry(
        title="Orthogonal PGD", source="Bryniarski et al. 2021, section 4", make=_orthogonal
    ),
    "feature-matching": Entry(
        title="Feature matching",
        source="Sabour et al. 2016; Tramèr et al. 2020",
        make=_feature_matching,
    ),
    "joint-square": Entry(
        title="Square on the joint criterion",
        source="Andriushchenko et al. 2020, on min(margin, -excess)",
        make=_joint_square,
    ),
}


def build_adaptive(
    name: str,
    threat: Threat,
    *,
    seed: int = 0,
    effort: Effort = Effort.STANDARD,
    guides: Tensor | None = None,
    guide_labels: Tensor | None = None,
) -> AdaptiveAttack:
    """Return an adaptive attack with its budget.

    Raises `SettingsError` for a name that is not there, or a patch.
    """
    entry = ADAPTIVE.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, ADAPTIVE, n=1, cutoff=0.0)
        raise SettingsError(f"no adaptive attack {name!r}", remedy=f"Did you mean {near[0]}?")
    if not isinstance(threat, ThreatModel):
        raise SettingsError(f"{name} cannot do {threat}", remedy="Give a norm, such as linf:0.3.")
    attack: Any = entry.make(threat, seed, effort is Effort.QUICK)
    if isinstance(attack, FeatureMatching):
        attack = replace(attack, guides=guides, guide_labels=guide_labels)
    made: AdaptiveAttack = attack
    return made


def budget(attack: AdaptiveAttack) -> dict[str, int | float]:
    """Return the numbers that say how much an attack may do."""
    left_out = {"threat", "seed", "starts", "guides", "guide_labels"}
    return {
        field.name: getattr(attack, field.name)
        for field in fields(attack)
        if field.name not in left_out
    }
