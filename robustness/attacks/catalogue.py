"""The attacks by name, each with its published source and its standard and its quick budget."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from robustness.attacks.apgd import APGD, TargetedAPGD
from robustness.attacks.attack import Attack
from robustness.attacks.fab import FABT
from robustness.attacks.hop_skip_jump import HopSkipJump
from robustness.attacks.losses import LossName
from robustness.attacks.patch import Patch
from robustness.attacks.pgd import PGD
from robustness.attacks.square import Square
from robustness.attacks.transfer import Transfer
from torchkeep.errors import SettingsError
from torchkeep.threat_model import PATCH, Norm, PatchThreat, Threat

NORMS = frozenset(str(norm) for norm in Norm)
CROCE = "Croce and Hein 2020, Reliable evaluation of adversarial robustness with an ensemble"


class Effort(StrEnum):
    """How much an attack may do."""

    QUICK = "quick"
    STANDARD = "standard"


Make = Callable[[Any, int, bool], Attack]
"""Of a threat, a seed, and whether the budget is the quick one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An attack: `knows` is what it sees of the model, `threats` the kinds it can do."""

    title: str
    source: str
    knows: str  # "network" | "answers" | "another network"
    make: Make
    threats: frozenset[str] = NORMS


def _fgsm(threat: Any, seed: int, quick: bool) -> Attack:
    return PGD(threat=threat, steps=1, step_size=threat.eps, random_start=False, seed=seed)


def _pgd(threat: Any, seed: int, quick: bool) -> Attack:
    steps, restarts = (20, 1) if quick else (40, 5)
    size = threat.eps * 4 / (3 * steps)
    return PGD(threat=threat, steps=steps, step_size=size, restarts=restarts, seed=seed)


def _apgd_ce(threat: Any, seed: int, quick: bool) -> Attack:
    restarts = 5 if threat.norm is Norm.L1 and not quick else 1  # as in AutoAttack's own code
    return APGD(threat=threat, steps=40 if quick else 100, restarts=restarts, seed=seed)


def _apgd_dlr(threat: Any, seed: int, quick: bool) -> Attack:
    return APGD(threat=threat, loss=LossName.DLR, steps=40 if quick else 100, seed=seed)


def _apgd_t(threat: Any, seed: int, quick: bool) -> Attack:
    steps, targets = (40, 3) if quick else (100, 5 if threat.norm is Norm.L1 else 9)
    return TargetedAPGD(threat=threat, steps=steps, targets=targets, seed=seed)


def _fab_t(threat: Any, seed: int, quick: bool) -> Attack:
    steps, targets = (40, 3) if quick else (100, 9)
    return FABT(threat=threat, steps=steps, targets=targets, seed=seed)


def _square(threat: Any, seed: int, quick: bool) -> Attack:
    return Square(threat=threat, queries=500 if quick else 5000, seed=seed)


def _hop_skip_jump(threat: Any, seed: int, quick: bool) -> Attack:
    iterations = 5 if quick else 30
    return HopSkipJump(threat=threat, iterations=iterations, seed=seed)


def _patch(threat: Any, seed: int, quick: bool) -> Attack:
    places, steps = (5, 15) if quick else (20, 30)
    return Patch(threat=threat, places=places, steps=steps, seed=seed)


def _transfer(threat: Any, seed: int, quick: bool) -> Attack:
    return Transfer(threat=threat, steps=40 if quick else 100, seed=seed)


ATTACKS: Mapping[str, Entry] = {
    "fgsm": Entry(
        title="FGSM", source="Goodfellow et al. 2015, section 4", knows="network", make=_fgsm
    ),
    "pgd": Entry(title="PGD", source="Madry et al. 2018, section 2.1", knows="network", make=_pgd),
    "apgd-ce": Entry(title="APGD-CE", source=CROCE, knows="network", make=_apgd_ce),
    "apgd-dlr": Entry(title="APGD-DLR", source=CROCE, knows="network", make=_apgd_dlr),
    "apgd-t": Entry(title="APGD-T", source=CROCE, knows="network", make=_apgd_t),
    "fab-t": Entry(
        title="FAB-T",
        source="Croce and Hein 2020, Minimally distorted adversarial examples (FAB)",
        knows="network",
        make=_fab_t,
    ),
    "square": Entry(
        title="Square",
        source="Andriushchenko et al. 2020, Square Attack",
        knows="answers",
        make=_square,
    ),
    "hopskipjump": Entry(
        title="HopSkipJump",
        source="Chen et al. 2020, HopSkipJumpAttack (ART)",
        knows="answers",
        make=_hop_skip_jump,
        threats=frozenset({str(Norm.LINF), str(Norm.L2)}),
    ),
    "patch": Entry(
        title="Patch",
        source="Brown et al. 2017, Adversarial Patch; here one patch an image",
        knows="network",
        make=_patch,
        threats=frozenset({PATCH}),
    ),
    "transfer": Entry(
        title="Transfer",
        source="Papernot et al. 2016, Transferability in Machine Learning",
        knows="another network",
        make=_transfer,
    ),
}

AUTOATTACK = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The standard ensemble, in its order: each on the images that those before it did not turn."""
ENSEMBLES: Mapping[str, tuple[str, ...]] = {"auto-attack": AUTOATTACK}
"""Names that stand for several attacks."""
FOUR_CLASSES = "apgd-t"
"""The attack whose loss, the targeted ratio of differences of logits, needs four classes."""


def expanded(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names, each once, with an ensemble's attacks in its order where it was named."""
    named = tuple(dict.fromkeys(names))
    members = {one for name in named for one in ENSEMBLES.get(name, ())}
    alone = (() if name in members else ENSEMBLES.get(name, (name,)) for name in named)
    return tuple(one for group in alone for one in group)


def build(name: str, threat: Threat, *, seed: int = 0, effort: Effort = Effort.STANDARD) -> Attack:
    """Return an attack with its budget.

    Raises `SettingsError` for a name that is not there, or a threat that it cannot do.
    """
    if name in ENSEMBLES:
        raise SettingsError(
            f"{name} is several attacks", remedy=f"Name one: {', '.join(ENSEMBLES[name])}."
        )
    entry = ATTACKS.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, ATTACKS, n=1, cutoff=0.0)
        raise SettingsError(f"no attack {name!r}", remedy=f"Did you mean {near[0]}?")
    kind = PATCH if isinstance(threat, PatchThreat) else str(threat.norm)
    if kind not in entry.threats:
        able = ", ".join(other for other, one in ATTACKS.items() if kind in one.threats)
        raise SettingsError(f"{name} cannot do {threat}", remedy=f"For that, use {able}.")
    return entry.make(threat, seed, effort is Effort.QUICK)


def budget(attack: Attack) -> dict[str, int | float]:
    """Return the numbers that say how much an attack may do."""
    left_out = {"threat", "seed", "batch_size", "source", "random_start"}
    return {
        field.name: getattr(attack, field.name)
        for field in fields(attack)  # type: ignore[arg-type]
        if field.name not in left_out and isinstance(getattr(attack, field.name), int | float)
    }
