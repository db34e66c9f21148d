"""What the page offers: attacks with their budgets, threats with their strengths, defences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustness.attacks.attack import Attack
from robustness.attacks.catalogue import ATTACKS, Effort, budget, build
from robustness.attacks.square import Square
from robustness.evaluation.standard import default_threats
from robustness.playground.trial import LARGEST, Place, Trial
from robustness.preprocessing import Preprocessing, parse
from torchkeep.errors import SettingsError
from torchkeep.threat_model import PATCH, Epsilon, Norm, PatchThreat, Threat, ThreatModel

OFFERED = tuple(name for name in ATTACKS if name != "transfer")
"""All but the attack that needs a second network."""
NO_ATTACK = "none"
NO_DEFENCE = "none"
DEFENCES = ("jpeg:75", "bits:4", "median:3")
"""Total variation is too slow to attack through while someone waits."""
QUERIES = 150
"""What Square may ask of a running server, one image a request."""
FALLBACK = 0.1
"""Strength to begin with where a standard evaluation has none: Linf, if trained in another norm."""
TITLES: Mapping[str, str] = {Norm.LINF: "L∞", Norm.L2: "L2", Norm.L1: "L1", PATCH: "patch"}


def attack_for(trial: Trial) -> Attack | None:
    """Return the attack of a trial, or None; raises `SettingsError` if it is not offered."""
    threat = trial.allowed()
    if trial.attack == NO_ATTACK:
        return None
    if trial.attack not in OFFERED:
        raise SettingsError(
            f"no attack {trial.attack!r} here", remedy=f"There are {', '.join(OFFERED)}."
        )
    attack = build(trial.attack, threat, seed=trial.seed, effort=Effort.QUICK)
    return _few_queries(attack) if asks_the_server(trial) else attack


def asks_the_server(trial: Trial) -> bool:
    """Return whether the attack itself asks the server; any other is made on the artifact here."""
    return trial.place is Place.SERVER and trial.attack == "square"


def defences(own: Preprocessing | None) -> dict[str, Preprocessing | None]:
    """Return the defences by name, that of the artifact first."""
    offered = {NO_DEFENCE: None} | {name: parse(name) for name in DEFENCES}
    same = next((name for name, one in offered.items() if _alike(one, own)), None)
    if same is None and own is not None:
        return {own.kind: own} | offered
    return {str(same): own} | offered | {str(same): own}


def attacks_offered() -> list[dict[str, Any]]:
    """Return the attacks as plain JSON values; the budget does not depend on the threat."""
    return [
        {
            "name": name,
            "title": ATTACKS[name].title,
            "source": ATTACKS[name].source,
            "knows": ATTACKS[name].knows,
            "threats": [kind for kind in LARGEST if kind in ATTACKS[name].threats],
            "budget": budget(_example(name)),
        }
        for name in OFFERED
    ]


def threats_offered(
    shape: tuple[int, int, int], trained: ThreatModel | None
) -> dict[str, dict[str, Any]]:
    """Return by kind of threat its title, a standard strength to begin with, and the largest."""
    first = trained or ThreatModel(norm=Norm.LINF, eps=Epsilon(0.1))
    sizes = dict(map(_sized, (first, *default_threats(shape, first))))
    return {
        str(kind): {"title": TITLES[kind], "size": sizes.get(kind, FALLBACK), "largest": largest}
        for kind, largest in LARGEST.items()
    }


def server_budget() -> Mapping[str, int | float]:
    """Return the budget of Square against a server."""
    return budget(_few_queries(_example("square")))


def _few_queries(attack: Attack) -> Square:
    if not isinstance(attack, Square):
        raise TypeError(f"{type(attack).__name__} is not asked of a server")
    return Square(threat=attack.threat, queries=QUERIES, share=attack.share, seed=attack.seed)


def _example(name: str) -> Attack:
    threat: Threat = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.1))
    if PATCH in ATTACKS[name].threats:
        threat = PatchThreat(share=0.1)
    return build(name, threat, effort=Effort.QUICK)


def _sized(threat: Threat) -> tuple[str, float]:
    if isinstance(threat, PatchThreat):
        return PATCH, threat.share
    return str(threat.norm), threat.eps


def _alike(one: Preprocessing | None, other: Preprocessing | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.kind == other.kind and one.options() == other.options()
