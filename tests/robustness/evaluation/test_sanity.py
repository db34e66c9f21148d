"""Each check fails on an evaluation that was made up to deserve it, and passes on another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.evaluation.plan import Kind, Purpose, Task
from robustness.evaluation.report import Check
from robustness.evaluation.sanity import checks, doubtful, helps
from tests.robustness.evaluation.made_up import MadeUp, N, first

TRAINED = "linf 0.3"
SUSPICION = Task(key="suspicion", kind=Kind.SUSPICION, name="suspicion", title="suspicions")
NONE = np.zeros(N, np.bool_)


def curve(eps: float) -> Task:
    return Task(
        key=f"curve.linf-{eps:g}",
        kind=Kind.ATTACK,
        name="apgd-ce",
        title="APGD-CE",
        threat=f"linf {eps:g}",
        purpose=Purpose.CURVE,
    )


def strike(name: str, kind: Kind = Kind.ATTACK) -> Task:
    return Task(key=name, kind=kind, name=name, title=name, threat=TRAINED)


def checking(what: str, amount: int) -> Task:
    return Task(
        key=f"check-{what}-{amount}",
        kind=Kind.ATTACK,
        name="pgd",
        title=f"PGD {amount}",
        threat=TRAINED,
        purpose=Purpose.CHECK,
    )


CURVE = [curve(0.15), curve(0.3), curve(1.0)]
FALLING = {CURVE[0].key: first(35), CURVE[1].key: first(30), CURVE[2].key: first(0)}


def find(found: tuple[Check, ...], words: str) -> Check:
    (check,) = [check for check in found if words in check.name]
    return check


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("zero_gradient", "gradients are there"),
        ("random", "the same input"),
        ("softmax", "logits, not probabilities"),
    ],
)
def test_suspicions_are_told_and_fatal(column: str, words: str, tmp_path: Path) -> None:
    columns = {"zero_gradient": NONE, "random": NONE, "softmax": NONE}
    fine = checks(MadeUp().results([SUSPICION], tmp_path / "a", **columns), TRAINED)
    assert len(fine) == 3
    assert not doubtful(fine)
    bad = {**columns, column: ~NONE}
    found = checks(MadeUp().results([SUSPICION], tmp_path / "b", **bad), TRAINED)
    assert not find(found, words).passed
    assert doubtful(found)


def test_an_accuracy_that_does_not_fall_to_nothing_is_fatal(tmp_path: Path) -> None:
    fine = checks(MadeUp(survive=FALLING).results(CURVE, tmp_path / "a"), TRAINED)
    assert [check.passed for check in fine] == [True, True]
    masked = FALLING | {CURVE[2].key: first(5)}
    found = checks(MadeUp(survive=masked).results(CURVE, tmp_path / "b"), TRAINED)
    assert not find(found, "falls to nothing").passed
    assert doubtful(found)


def test_an_accuracy_that_rises_with_the_radius_is_fatal(tmp_path: Path) -> None:
    rising = FALLING | {CURVE[0].key: first(20)}
    found = checks(MadeUp(survive=rising).results(CURVE, tmp_path), TRAINED)
    assert not find(found, "never rises").passed
    assert "linf 0.3 over linf 0.15" in find(found, "never rises").seen


@pytest.mark.parametrize("what", ["steps", "restarts"])
def test_more_work_that_helps_the_defence_is_fatal(what: str, tmp_path: Path) -> None:
    tasks = [checking(what, 10), checking(what, 40)]
    fine = {tasks[0].key: first(30), tasks[1].key: first(29)}
    assert not doubtful(checks(MadeUp(survive=fine).results(tasks, tmp_path / "a"), TRAINED))
    helped = {tasks[0].key: first(20), tasks[1].key: first(32)}
    found = checks(MadeUp(survive=helped).results(tasks, tmp_path / "b"), TRAINED)
    assert not find(found, f"more {what} never help").passed
    assert doubtful(found)


def test_black_box_attacks_that_are_stronger_are_told(tmp_path: Path) -> None:
    tasks = [strike("apgd-ce"), strike("square")]
    fine = {"apgd-ce": first(20), "square": first(25)}
    assert find(
        checks(MadeUp(survive=fine).results(tasks, tmp_path / "a"), TRAINED), "square finds no more"
    ).passed
    masked = {"apgd-ce": first(40), "square": first(25)}
    found = checks(MadeUp(survive=masked).results(tasks, tmp_path / "b"), TRAINED)
    assert not find(found, "square finds no more").passed
    assert not doubtful(found)


def test_detection_that_claims_more_than_half_the_radius_is_told(tmp_path: Path) -> None:
    tasks = [*CURVE, strike("joint", Kind.ADAPTIVE)]
    weak = FALLING | {"joint": first(0)}
    caught = MadeUp(survive=weak, flagged={"joint": ~NONE, **{t.key: ~NONE for t in CURVE}})
    found = checks(caught.results(tasks, tmp_path / "a"), TRAINED)
    assert not find(found, "eps/2").passed  # all are detected, and 35 hold at half the radius
    fooled = MadeUp(survive=weak)
    assert find(checks(fooled.results(tasks, tmp_path / "b"), TRAINED), "eps/2").passed


@settings(deadline=None, max_examples=50, derandomize=True)
@given(seed=st.integers(0, 2**16), count=st.integers(0, N))
def test_no_attack_helps_against_itself_or_when_it_turns_more(seed: int, count: int) -> None:
    weaker = np.random.default_rng(seed).random(N) < 0.7
    assert not helps(weaker, weaker)
    assert not helps(weaker, weaker & first(count))
    assert helps(NONE, first(7))
    assert not helps(NONE, first(6))  # 2 ** -6 is above one in a hundred
