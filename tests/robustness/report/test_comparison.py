"""A comparison calls noise noise, and a loss a loss."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.evaluation.report import RobustnessReport, Share
from robustness.report.comparison import Outcome, compare, holm, two_proportions
from robustness.report.comparison_page import (
    comparison_html,
    comparison_lines,
    comparison_markdown,
)
from tests.render.markup import Seen
from tests.robustness.report.sample import HOSTILE, full

ONE = ("linf 0.3",)


def changed(**parts: Any) -> RobustnessReport:
    return replace(full("mnist", ONE), **parts)


def outcome(after: RobustnessReport, figure: str) -> Outcome:
    compared = compare(full("mnist", ONE), after)
    return next(one.outcome for one in compared.differences if one.figure == figure)


def test_a_report_is_the_same_as_itself() -> None:
    compared = compare(full(), full())
    assert compared.like
    assert compared.changes == ()
    assert {one.outcome for one in compared.differences} == {Outcome.SAME}


@pytest.mark.parametrize(
    ("count", "told"),
    [(985, Outcome.SAME), (980, Outcome.SAME), (900, Outcome.WORSE), (1000, Outcome.BETTER)],
)
def test_noise_is_told_from_what_is_more(count: int, told: Outcome) -> None:
    after = changed(clean_accuracy=Share.of(count, 1000))
    assert outcome(after, "clean accuracy") is told


def test_more_false_alarms_are_worse() -> None:
    after = changed(clean_flagged=Share.of(100, 1000))
    assert outcome(after, "clean images flagged") is Outcome.WORSE


def test_a_figure_that_is_withheld_or_gone_is_a_setback() -> None:
    threat = full("mnist", ONE).threats[0]
    hidden = replace(threat.robust_accuracy, share=None)
    after = changed(threats=(replace(threat, robust_accuracy=hidden),))
    assert outcome(after, "robust accuracy, linf 0.3") is Outcome.LOST
    gone = compare(full("mnist", ONE), changed(threats=()))
    assert len(gone.setbacks) == 2
    assert not compare(changed(threats=()), full("mnist", ONE)).setbacks


def test_what_makes_it_another_test_is_told_first() -> None:
    first = full("mnist", ONE)
    weaker = tuple(replace(a, budget={"steps": 1}) for a in first.attacks[:1]) + first.attacks[1:]
    circumstances = replace(first.circumstances, n=500, device="cuda")
    compared = compare(first, changed(attacks=weaker, circumstances=circumstances))
    assert not compared.like
    assert [change.what for change in compared.changes] == [
        "test images", "attack FGSM, linf 0.3", "device",
    ]  # fmt: skip
    assert "NOT the same test" in list(comparison_lines(compared))[1]


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    st.lists(st.floats(0, 0.2), min_size=1, max_size=12), st.floats(0.001, 0.2, exclude_max=True)
)
def test_corrected_values_decide_as_holm_steps_down(p_values: list[float], level: float) -> None:
    """The oracle rejects the smallest of m while it is below level / m (Holm 1979)."""
    corrected = holm({str(place): p for place, p in enumerate(p_values)})
    left = sorted(range(len(p_values)), key=lambda place: p_values[place])
    rejected: set[int] = set()
    while left and p_values[left[0]] * len(left) < level:
        rejected.add(left.pop(0))
    assert {place for place in range(len(p_values)) if corrected[str(place)] < level} == rejected


def test_noise_is_rarely_called_a_difference() -> None:
    draws = np.random.default_rng(0).binomial(300, 0.8, (400, 2))
    p_values = [two_proportions(Share.of(int(a), 300), Share.of(int(b), 300)) for a, b in draws]
    assert np.mean([p is not None and p < 0.05 for p in p_values]) <= 0.06


def test_hostile_names_stay_text_in_every_form() -> None:
    compared = compare(full("mnist", ONE), full(HOSTILE, ONE))
    page = Seen(comparison_html(compared))
    assert page.faults == []
    assert "script" not in page.tags
    assert re.search(r"(?<!\\)<", comparison_markdown(compared)) is None
    assert not any("\n" in line or "\x1b" in line for line in comparison_lines(compared))
