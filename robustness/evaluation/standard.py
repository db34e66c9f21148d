"""The standard plan of an evaluation, its quick form, and plans of attacks that a user names."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass

from robustness.adaptive.catalogue import ADAPTIVE
from robustness.attacks.catalogue import (
    ATTACKS,
    AUTOATTACK,
    ENSEMBLES,
    FOUR_CLASSES,
    Effort,
    expanded,
)
from robustness.corruptions import kinds_for
from robustness.evaluation.plan import CLEAN, Kind, Purpose, Task
from robustness.evaluation.tasks import DEFENCE_ATTACK, attack_of
from torchkeep.errors import SettingsError
from torchkeep.threat_model import (
    Epsilon,
    Norm,
    PatchThreat,
    Threat,
    ThreatModel,
    parse_threat,
)

GREY = ("l2:2", "l1:10", "patch:0.05")
"""Beside the threat trained against, for grey images (norms: Tramèr and Boneh 2019, MNIST)."""
COLOUR = ("l2:0.5", "l1:12", "patch:0.05")
"""For colour images (norms: RobustBench's CIFAR-10; Croce and Hein 2021)."""
CURVE = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Radii of the security curve, as multiples of the one trained against."""
SEVERITIES = (1, 2, 3, 4, 5)
DEFENCES = ("jpeg:75", "bits:4", "median:3", "tv:0.1")
STEPS = (10, 40, 160)
RESTARTS = (1, 5)
PROVED = 100
"""Images for certificates, which are dear."""
FEW = 20
"""Images for attacks that ask one image at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What to evaluate: the threats, the attacks by name (none: the standard ones), how much."""

    trained: ThreatModel
    others: tuple[Threat, ...]
    attacks: tuple[str, ...] = ()
    quick: bool = False
    shape: tuple[int, int, int]
    classes: int
    detectors: bool
    source: bool = False
    """Whether there is a second network to transfer attacks from."""
    bounds: bool = False
    """Whether linear bounds know a rule for every layer of the network."""

    @property
    def effort(self) -> Effort:
        """How much each attack may do."""
        return Effort.QUICK if self.quick else Effort.STANDARD

    @property
    def targeted(self) -> bool:
        """Whether there are classes enough for all attacks."""
        return self.classes > 3


def default_threats(shape: tuple[int, int, int], trained: ThreatModel) -> tuple[Threat, ...]:
    """Return the threats to evaluate beside the one trained against."""
    texts = GREY if shape[0] == 1 else COLOUR
    threats = (parse_threat(text) for text in texts)
    return tuple(
        threat
        for threat in threats
        if isinstance(threat, PatchThreat) or threat.norm is not trained.norm
    )


def tasks(scope: Scope) -> tuple[Task, ...]:
    """Return the tasks of an evaluation. Raises `SettingsError` for an attack that is not there."""
    _check_names(scope)
    found = [
        Task(key=CLEAN, kind=Kind.CLEAN, name=CLEAN, title="clean images"),
        Task(key="suspicion", kind=Kind.SUSPICION, name="suspicion", title="suspicions"),
        *_attacks(scope),
        *_adaptive(scope),
        *_curve(scope),
        *_checking(scope),
    ]
    if not scope.attacks:
        found += [*_corruptions(scope), *_defences(scope), *_certificates(scope)]
    for task in found:
        if task.kind is Kind.ATTACK:
            attack_of(task, 0)  # finds out now that an attack cannot do a threat
    return tuple(found)


def _check_names(scope: Scope) -> None:
    known = [*ATTACKS, *ADAPTIVE, *ENSEMBLES]
    for name in scope.attacks:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise SettingsError(f"no attack {name!r}", remedy=f"Did you mean {near[0]}?")
        if name in ADAPTIVE and not scope.detectors:
            raise SettingsError(
                f"{name} attacks detectors, and this artifact has none",
                remedy="Run `torchkeep fit-detectors` on it.",
            )
        if name == "transfer" and not scope.source:
            raise SettingsError(
                "transfer needs a second network",
                remedy="Name its artifact with --transfer-from.",
            )
        if name in ENSEMBLES and scope.quick:
            raise SettingsError(
                f"{name} has no quick form",
                remedy="Leave out --quick; -n takes fewer images.",
            )
        if FOUR_CLASSES in expanded([name]) and not scope.targeted:
            raise SettingsError(
                f"{name} needs four classes, here are {scope.classes}",
                remedy="Name --attack apgd-ce, --attack fab-t and --attack square.",
            )


def slug(threat: object) -> str:
    """Return a threat's name as it may stand in the name of a file."""
    return str(threat).replace(" ", "-")


def _attacks(scope: Scope) -> Iterator[Task]:
    for threat in (scope.trained, *scope.others):
        names = [name for name in _names(scope, threat) if name not in ADAPTIVE]
        before: tuple[str, ...] = ()
        for name in names:
            task = Task(
                key=f"{slug(threat)}.{name}",
                kind=Kind.ATTACK,
                name=name,
                title=ATTACKS[name].title,
                threat=str(threat),
                effort=scope.effort,
                after=before if name in AUTOATTACK else (),
                images=FEW if name == "hopskipjump" else None,
            )
            if name in AUTOATTACK:
                before = (*before, task.key)
            yield task


def _names(scope: Scope, threat: Threat) -> tuple[str, ...]:
    """Return the attacks within a threat: those named, or the standard ones."""
    if scope.attacks:
        return expanded(scope.attacks)
    if isinstance(threat, PatchThreat):
        return ("patch",)
    ensemble = tuple(name for name in AUTOATTACK if scope.targeted or name != FOUR_CLASSES)
    if scope.quick:
        ensemble = tuple(name for name in ensemble if name in ("apgd-ce", "apgd-t"))
    if threat != scope.trained:
        return ensemble
    alone = ("fgsm", "pgd") + (("transfer",) if scope.source else ())
    return (*alone, *ensemble, *(() if scope.quick else ("hopskipjump",)))


def _adaptive(scope: Scope) -> Iterator[Task]:
    if not scope.detectors:
        return
    names = scope.attacks or (("joint",) if scope.quick else tuple(ADAPTIVE))
    starts = tuple(
        task.key
        for task in _attacks(scope)
        if task.threat == str(scope.trained) and task.name in ("pgd", "apgd-ce")
    )
    before: tuple[str, ...] = ()
    for name in names:
        if name not in ADAPTIVE:
            continue
        key = f"{slug(scope.trained)}.{name}"
        yield Task(
            key=key,
            kind=Kind.ADAPTIVE,
            name=name,
            title=ADAPTIVE[name].title,
            threat=str(scope.trained),
            effort=scope.effort,
            after=before,
            starts=starts,
        )
        before = (*before, key)


def _curve(scope: Scope) -> Iterator[Task]:
    """Yield PGD at growing radii, up to one that allows any image."""
    if scope.attacks:
        return
    norm, eps = scope.trained.norm, scope.trained.eps
    everything = _everything(norm, scope.shape)
    multiples = (0.5, 1.0, 2.0) if scope.quick else CURVE
    radii = [multiple * eps for multiple in multiples if multiple * eps < everything]
    for radius in (*radii, everything):
        threat = ThreatModel(norm=norm, eps=Epsilon(float(f"{radius:.6g}")))
        yield Task(
            key=f"curve.{slug(threat)}",
            kind=Kind.ATTACK,
            name="apgd-ce",
            title=f"APGD-CE at {threat.eps:g}",
            threat=str(threat),
            effort=Effort.QUICK,
            purpose=Purpose.CURVE,
        )


def _everything(norm: Norm, shape: tuple[int, int, int]) -> float:
    """Return the radius of the ball that holds every image."""
    size = math.prod(shape)
    return {Norm.LINF: 1.0, Norm.L2: math.sqrt(size), Norm.L1: float(size)}[norm]


def _checking(scope: Scope) -> Iterator[Task]:
    """Yield PGD with more and more steps, and with more restarts."""
    if scope.attacks:
        return
    eps = scope.trained.eps
    for steps in STEPS[:2] if scope.quick else STEPS:
        size = eps * 4 / (3 * min(steps, 40))
        yield _pgd(scope, f"check-steps-{steps}", f"PGD-{steps}", steps, size, 1)
    for restarts in RESTARTS:
        key, title = f"check-restarts-{restarts}", f"PGD-20 × {restarts}"
        yield _pgd(scope, key, title, 20, eps / 10, restarts)


def _pgd(scope: Scope, key: str, title: str, steps: int, size: float, restarts: int) -> Task:
    return Task(
        key=key,
        kind=Kind.ATTACK,
        name="pgd",
        title=title,
        threat=str(scope.trained),
        effort=scope.effort,
        purpose=Purpose.CHECK,
        options={"steps": steps, "step_size": size, "restarts": restarts},
    )


def _corruptions(scope: Scope) -> Iterator[Task]:
    severities = (SEVERITIES[-1],) if scope.quick else SEVERITIES
    for kind in kinds_for(scope.shape):
        for severity in severities:
            yield Task(
                key=f"corruption.{kind}.{severity}",
                kind=Kind.CORRUPTION,
                name=kind,
                title=f"{kind} {severity}",
                options={"severity": severity},
            )


def _defences(scope: Scope) -> Iterator[Task]:
    for name in () if scope.quick else DEFENCES:
        yield Task(
            key=f"defence.{name.replace(':', '-')}",
            kind=Kind.DEFENCE,
            name=name,
            title=ATTACKS[DEFENCE_ATTACK].title,
            threat=str(scope.trained),
            images=FEW if name.startswith("tv") else None,  # averaged over draws, each a descent
        )


def _certificates(scope: Scope) -> Iterator[Task]:
    if scope.bounds and scope.trained.norm is Norm.LINF:
        yield Task(
            key="certificate.linear",
            kind=Kind.CERTIFICATE,
            name="interval" if scope.quick else "linear",
            title="certificates",
            threat=str(scope.trained),
            images=PROVED,
        )
