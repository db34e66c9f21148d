"""What a task does, in words and numbers: built once from the catalogues of attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from robustness.adaptive import catalogue as adaptive
from robustness.attacks import catalogue
from robustness.attacks.attack import Attack
from robustness.attacks.catalogue import Effort
from robustness.evaluation.plan import Kind, Plan, Task
from torchkeep.threat_model import parse_threat


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What an attack knows, where it is published, and how much it may do."""

    knows: str
    source: str
    budget: Mapping[str, int | float]


def attack_of(task: Task, seed: int) -> Attack:
    """Return the attack of a task that knows no detectors.

    Raises `SettingsError` if it cannot do the task's threat.
    """
    attack = catalogue.build(
        task.name, parse_threat(task.threat), seed=seed, effort=Effort(task.effort)
    )
    return replace(attack, **task.options)  # type: ignore[type-var]


def described(task: Task, plan: Plan) -> Described:
    """Describe the attack of a task."""
    if task.kind is Kind.ADAPTIVE:
        threat, effort = parse_threat(task.threat), Effort(task.effort)
        built = adaptive.build_adaptive(task.name, threat, seed=plan.seed, effort=effort)
        source = adaptive.ADAPTIVE[task.name].source
        return Described(
            knows="network and detectors", source=source, budget=adaptive.budget(built)
        )
    entry = catalogue.ATTACKS[attack_name(task)]
    budget = catalogue.budget(attack_of(replace(task, name=attack_name(task)), plan.seed))
    return Described(knows=entry.knows, source=entry.source, budget=budget)


CERTIFIED = (1 / 12, 1 / 6, 1 / 3, 2 / 3, 1.0)
"""Radii of certificates, as shares of the radius trained against."""
CERTIFICATE_SOURCES = {
    "interval": "Gowal et al. 2018, section 3",
    "linear": "Zhang et al. 2018 (CROWN), section 3",
}


def certificate_radii(threat: str) -> tuple[float, ...]:
    """Return the radii at which a threat's certificates are sought."""
    eps = float(threat.split()[1])
    return tuple(float(f"{share * eps:.4g}") for share in CERTIFIED)


DEFENCE_ATTACK = "apgd-ce"
"""What a preprocessing defence is attacked with, the gradient passed through it."""


def attack_name(task: Task) -> str:
    """Return the catalogue's name of the attack a task runs."""
    return DEFENCE_ATTACK if task.kind is Kind.DEFENCE else task.name
