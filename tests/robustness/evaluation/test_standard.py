"""Which attacks a name on the command line stands for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from robustness.attacks.catalogue import AUTOATTACK, ENSEMBLES, build, expanded
from robustness.evaluation.plan import Kind
from robustness.evaluation.standard import Scope, tasks
from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel, parse_threat

LINF = parse_threat("linf:0.1")
assert isinstance(LINF, ThreatModel)
SCOPE = Scope(trained=LINF, others=(), shape=(1, 8, 8), classes=10, detectors=False)


def attacks(scope: Scope) -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, effort and what comes before, of each attack of a plan."""
    return [
        (task.name, str(task.effort), task.after)
        for task in tasks(scope)
        if task.kind is Kind.ATTACK
    ]


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        (("auto-attack",), AUTOATTACK),
        (("auto-attack", "auto-attack"), AUTOATTACK),
        (("square", "pgd", "auto-attack"), ("pgd", *AUTOATTACK)),
        (("auto-attack", "joint", "fab-t"), (*AUTOATTACK, "joint")),
        (("pgd", "fgsm", "pgd"), ("pgd", "fgsm")),
        ((), ()),
    ],
)
def test_an_ensemble_stands_for_its_attacks_in_its_order(
    named: tuple[str, ...], meant: tuple[str, ...]
) -> None:
    assert expanded(named) == meant


def test_auto_attack_is_the_plan_of_its_four_attacks() -> None:
    assert tasks(replace(SCOPE, attacks=("auto-attack",))) == tasks(
        replace(SCOPE, attacks=AUTOATTACK)
    )
    found = attacks(replace(SCOPE, attacks=("auto-attack",)))
    assert [(name, effort) for name, effort, _ in found] == [
        (name, "standard") for name in AUTOATTACK
    ]
    assert [len(after) for *_, after in found] == [0, 1, 2, 3]


def test_auto_attack_runs_in_every_threat_that_is_named() -> None:
    others = (parse_threat("l2:1"), parse_threat("l1:5"))
    found = attacks(replace(SCOPE, others=others, attacks=("auto-attack",)))
    assert [name for name, *_ in found] == list(AUTOATTACK) * 3


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"quick": True, "attacks": ("auto-attack",)}, "no quick form"),
        ({"classes": 3, "attacks": ("auto-attack",)}, "needs four classes, here are 3"),
        ({"classes": 2, "attacks": ("apgd-t",)}, "needs four classes, here are 2"),
        ({"attacks": ("auto-atack",)}, "Did you mean auto-attack?"),
        ({"others": (parse_threat("patch:0.1"),), "attacks": ("auto-attack",)}, "cannot do patch"),
    ],
)
def test_what_would_be_less_than_auto_attack_is_refused(
    changed: dict[str, object], fault: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        tasks(replace(SCOPE, **changed))  # type: ignore[arg-type]
    assert fault in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_ensemble_is_not_built_as_one_attack() -> None:
    for name in ENSEMBLES:
        with pytest.raises(SettingsError, match="is several attacks"):
            build(name, LINF)
