"""The answer comes with its doubts, its backtest, and no number where the data support none."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.render.markup import Seen, svg_texts
from tests.training.learning_curve.laws import SIZES, law, measured
from torchkeep.errors import SettingsError
from training.learning_curve.assessment import TOO_WIDE, Assessment, assess, check_question
from training.learning_curve.curve import Curve
from training.learning_curve.power_law import Floats
from training.learning_curve.report import answer, backtest_lines, chart, html, points

HAVE, MORE = 32_000, 1000
TRUTH = law(1.0, 0.4, 0.0)


def of(errors: Floats, *, images: int = 10_000, spread: float = 0.02) -> Assessment:
    """Assess errors that three trainings a size show, one of them each without deviation."""
    return assess(
        Curve(SIZES, errors[:, None] * [1 - spread, 1, 1 + spread], images), HAVE, MORE, 0
    )


@pytest.fixture(scope="module")
def sure() -> Assessment:
    curve = measured(TRUTH, np.random.default_rng(0), images=100_000, deviation=0.02)
    return assess(curve, HAVE, MORE, 0)


@pytest.fixture(scope="module")
def unsure() -> Assessment:
    return of(TRUTH.errors(SIZES)[0], images=300, spread=0.3)


def test_a_clear_curve_gets_a_number_without_doubts(sure: Assessment) -> None:
    now, then = TRUTH.errors(np.array([HAVE, HAVE + MORE]))[0]
    assert sure.doubts == ()
    assert sure.gain.low <= now - then <= sure.gain.high
    assert sure.now.estimate < sure.then.estimate
    assert points(sure.gain.estimate) in answer(sure)
    assert "32,000 → 33,000" in answer(sure)


def test_the_largest_sizes_are_foretold_from_the_others(sure: Assessment) -> None:
    assert [test.size for test in sure.backtests] == [16_000, 32_000]
    assert all(test.inside and not test.failed for test in sure.backtests)
    assert sure.backtests[1].measured == pytest.approx(1 - sure.curve.mean[-1])
    assert "inside" in backtest_lines(sure)[0]
    few = Curve(SIZES[:5], sure.curve.errors[:5], 100_000)
    assert [test.size for test in assess(few, 8000, MORE, 0).backtests] == [8000]


def test_what_is_held_out_does_not_change_what_is_foretold(sure: Assessment) -> None:
    errors = sure.curve.errors.copy()
    errors[-2:] *= 3
    other = assess(Curve(SIZES, errors, 100_000), HAVE, MORE, 0)
    assert [test.foretold for test in other.backtests] == [test.foretold for test in sure.backtests]
    assert not any(test.inside for test in other.backtests)
    assert "OUTSIDE" in backtest_lines(other)[0]
    assert any("failed to foretell" in doubt for doubt in other.doubts)


def test_a_number_whose_backtest_missed_says_so(sure: Assessment) -> None:
    missed = replace(sure.backtests[1], measured=sure.backtests[1].foretold.high + 0.001)
    assert "trust this less" in answer(replace(sure, backtests=(sure.backtests[0], missed)))
    assert "trust this less" not in answer(sure)


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        (np.full(7, 0.1), "does not rise"),
        (np.linspace(0.1, 0.2, 7), "does not rise"),
        (np.array([0.9, 0.011, 0.0101, 0.01, 0.01, 0.01, 0.01]), "at the bounds"),
        (TRUTH.errors(SIZES)[0] * [1, 1, 1.3, 0.8, 1.3, 1, 1], "no power law"),
        (np.array([0.08, 0.06, 0.045, 0.033, 0.025, 0.08, 0.08]), "failed to foretell"),
    ],
)
def test_a_curve_that_supports_no_number_says_why(errors: Floats, told: str) -> None:
    found = of(errors)
    assert any(told in doubt for doubt in found.doubts)
    assert answer(found).startswith("The data support no number")
    assert "at the most" not in answer(found)
    assert found.to_json()["gain"] is None


def test_an_interval_as_wide_as_the_answer_gives_an_upper_bound_alone(unsure: Assessment) -> None:
    assert unsure.doubts == (TOO_WIDE,)
    assert unsure.gain.high - unsure.gain.low >= unsure.gain.estimate
    told = answer(unsure)
    assert f"{points(unsure.gain.high)} points at the most" in told
    assert f"{points(unsure.gain.estimate)} points" not in told.replace(
        f"{points(unsure.gain.high)} points", ""
    )


def test_json_has_the_numbers_and_no_unsupported_gain(sure: Assessment, unsure: Assessment) -> None:
    told = json.loads(json.dumps(sure.to_json()))
    assert told["gain"]["estimate"] == sure.gain.estimate
    assert told["interval"] == 0.9
    assert [test["inside"] for test in told["backtests"]] == [True, True]
    assert [len(point["accuracies"]) for point in told["points"]] == [3] * 7
    assert told["points"][0]["size"] == 500
    assert unsure.to_json()["gain"] is None
    assert unsure.to_json()["doubts"] == [TOO_WIDE]


@pytest.mark.parametrize(("have", "more"), [(10, 0), (10, -5), (0, 10)])
def test_a_question_without_sense_is_refused(have: int, more: int) -> None:
    with pytest.raises(SettingsError):
        check_question(have, more)


def test_the_chart_shows_law_trainings_and_what_was_foretold(sure: Assessment) -> None:
    told = svg_texts(chart(sure, "Curve"))
    assert {"law, 90% interval", "trainings", "foretold from smaller sizes", "labels"} <= set(told)


def test_the_page_tells_answer_and_table_and_escapes_its_title(
    sure: Assessment, unsure: Assessment
) -> None:
    for found in (sure, unsure):
        seen = Seen(html(found, "<b>data</b>"))
        assert seen.faults == []
        assert "b" not in seen.tags
        assert answer(found) in seen.texts
        assert {"500", "32,000", "yes"} <= set(seen.texts)
    assert html(sure, "x") == html(sure, "x")


@pytest.mark.parametrize(
    ("gain", "told"), [(0.00123, "0.12"), (0.1, "10"), (0.0456, "4.6"), (0.0, "0"), (2e-7, "2e-05")]
)
def test_points_have_two_digits(gain: float, told: str) -> None:
    assert points(gain) == told
