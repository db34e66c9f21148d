"""Intervals hold the truth as often as they say, and labels are never worth less than nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.learning_curve.laws import LAWS, SIZES, law, measured
from training.learning_curve.curve import Curve, Point
from training.learning_curve.extrapolation import SHARE, Interval, extrapolate
from training.learning_curve.noise import Noise
from training.learning_curve.power_law import PowerLaws

HAVE, MORE = SIZES[-1], 1000
CURVES = 30


def holds(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high


def held(truth: PowerLaws, seed: int, images: int, shared: bool) -> tuple[bool, bool, bool]:
    """Say whether the intervals of one curve hold accuracy, gain and a new measurement."""
    generator = np.random.default_rng(seed)
    found = extrapolate(measured(truth, generator, images=images, shared=shared), seed)
    now, then = truth.errors(np.array([HAVE, HAVE + MORE]))[0]
    again = measured(truth, generator, sizes=np.array([2 * HAVE]), images=images)
    return (
        holds(found.accuracy(HAVE + MORE), 1 - then),
        holds(found.gain(HAVE, MORE), now - then),
        holds(found.measurement(2 * HAVE), 1 - again.mean[0]),
    )


@pytest.mark.parametrize(("images", "shared"), [(10_000, False), (1000, False), (10_000, True)])
def test_about_nine_in_ten_intervals_hold_the_truth(images: int, shared: bool) -> None:
    hits = np.array(
        [
            held(law(*truth), seed, images, shared)
            for truth in LAWS.values()
            for seed in range(CURVES)
        ]
    )
    assert SHARE == 0.9
    for covered in hits.mean(0):
        assert 0.80 <= covered <= 0.98


@pytest.mark.parametrize("name", LAWS)
def test_no_law_is_covered_badly(name: str) -> None:
    hits = [held(law(*LAWS[name]), seed, 10_000, shared=False) for seed in range(100, 130)]
    assert np.mean(hits, axis=0).min() >= 0.8


def test_more_test_images_and_more_trainings_narrow_the_interval() -> None:
    def width(images: int, repeats: int) -> float:
        widths = []
        for seed in range(10):
            generator = np.random.default_rng(seed)
            curve = measured(law(1.0, 0.5, 0.01), generator, images=images, repeats=repeats)
            gain = extrapolate(curve, seed).gain(HAVE, MORE)
            widths.append(gain.high - gain.low)
        return float(np.median(widths))

    assert width(100_000, 3) < width(1000, 3)
    assert width(100_000, 12) < width(100_000, 2)


@given(st.lists(st.floats(0, 1), min_size=14, max_size=14), st.integers(1, 10**6))
@settings(max_examples=30, deadline=None)
def test_labels_are_never_worth_less_than_nothing(errors: list[float], more: int) -> None:
    curve = Curve(SIZES, np.reshape(errors, (7, 2)), 1000)
    found = extrapolate(curve, 0)
    gain = found.gain(HAVE, more)
    assert 0 <= gain.low <= gain.estimate <= gain.high <= 1
    assert found.accuracy(HAVE + more).estimate >= found.accuracy(HAVE).estimate
    assert 0 <= found.measurement(HAVE).low <= found.measurement(HAVE).high <= 1


def test_the_same_seed_gives_the_same_intervals() -> None:
    curve = measured(law(1.0, 0.5, 0.01), np.random.default_rng(0))
    one, again, other = (extrapolate(curve, seed).gain(HAVE, MORE) for seed in (1, 1, 2))
    assert one == again != other
    assert one.estimate == other.estimate


def test_where_a_floor_is_open_laws_without_one_are_drawn_too() -> None:
    generator = np.random.default_rng(0)
    without = extrapolate(measured(law(*LAWS["no floor"]), generator), 0)
    high = extrapolate(measured(law(*LAWS["high floor"]), generator, images=10**6), 0)
    assert len(without.others) == 2
    assert (without.others[1].c == 0).all()
    assert len(high.others) == 1


def test_a_misfit_widens_the_interval_and_is_told() -> None:
    errors = law(1.0, 0.5, 0.0).errors(SIZES)[0]
    bent = errors * np.array([1, 1, 1.2, 0.85, 1.2, 1, 1])
    fitting, off = (
        extrapolate(Curve(SIZES, e[:, None] * [0.98, 1.0, 1.02], 10_000), 0) for e in (errors, bent)
    )
    assert fitting.fits > 0.5 > 0.01 > off.fits
    assert fitting.noise.excess == 1 < off.noise.excess
    widths = [x.gain(HAVE, MORE).high - x.gain(HAVE, MORE).low for x in (fitting, off)]
    assert widths[1] > widths[0]


@pytest.mark.parametrize("shared", [True, False])
def test_drawn_noise_has_the_variance_it_claims(shared: bool) -> None:
    errors = np.array([0.3, 0.1, 0.02])
    noise = Noise(relative=0.01, freedom=10**6, repeats=4, images=500, excess=2.0)
    drawn = noise.draw(errors, 40_000, np.random.default_rng(0))[0 if shared else 1 :: 2]
    assert drawn.var(0) == pytest.approx(noise.variance(errors), rel=0.05)
    covariance = np.cov(drawn.T)[0, 2]
    expected = 2.0 * 0.02 * (1 - 0.3) / 500 if shared else 0.0
    assert covariance == pytest.approx(expected, abs=1e-5)


def test_an_error_of_0_is_noisy_all_the_same() -> None:
    curve = Curve(SIZES, np.zeros((7, 2)), 100)
    assert (Noise.of(curve).variance(curve.mean) > 0).all()
    assert extrapolate(curve, 0).measurement(HAVE).low < 1


def test_points_become_a_curve_and_gaps_are_told() -> None:
    points = [
        Point(size=size, repeat=repeat, accuracy=0.9 + 0.01 * repeat, images=100)
        for size in (20, 10)
        for repeat in range(2)
    ]
    curve = Curve.of(points)
    assert curve.sizes.tolist() == [10, 20]
    assert curve.mean == pytest.approx([0.095, 0.095])
    assert curve.deviation == pytest.approx([0.01 / np.sqrt(2)] * 2)
    with pytest.raises(ValueError, match="as many trainings"):
        Curve.of(points[:-1])
    with pytest.raises(ValueError, match="two trainings"):
        Curve(np.array([1.0, 2.0]), np.zeros((2, 1)), 10)
    with pytest.raises(ValueError, match="must grow"):
        Curve(np.array([2.0, 2.0]), np.zeros((2, 2)), 10)
