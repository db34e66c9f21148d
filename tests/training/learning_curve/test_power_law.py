"""The fit finds the law: exactly without noise, and the least squares with it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from tests.training.learning_curve.laws import LAWS, SIZES, law
from training.learning_curve.power_law import HIGHEST_B, LOWEST_B, Floats, fit

EVEN = np.ones(len(SIZES))


def loss(a: float, b: float, c: float, errors: Floats, weights: Floats) -> float:
    return float((weights * (errors - law(a, b, c).errors(SIZES)[0]) ** 2).sum())


@pytest.mark.parametrize("name", LAWS)
def test_a_law_without_noise_is_found_again(name: str) -> None:
    truth = law(*LAWS[name])
    found = fit(SIZES, truth.errors(SIZES), EVEN)
    assert found.errors(SIZES) == pytest.approx(truth.errors(SIZES), rel=1e-4)
    assert found.b[0] == pytest.approx(truth.b[0], rel=1e-3)
    assert found.c[0] == pytest.approx(truth.c[0], abs=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_no_search_from_many_starts_finds_less_loss(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = list(LAWS.values())[seed % len(LAWS)]
    errors = law(*truth).errors(SIZES)[0] * (1 + 0.1 * generator.standard_normal(len(SIZES)))
    weights = 1 / errors**2
    found = fit(SIZES, errors[None], weights)
    ours = loss(found.a[0], found.b[0], found.c[0], errors, weights)
    for start in np.geomspace(0.05, 1.9, 6):
        best = least_squares(
            lambda x: np.sqrt(weights) * (errors - law(*x).errors(SIZES)[0]),
            x0=[1.0, start, 0.01],
            bounds=([0, LOWEST_B, 0], [np.inf, HIGHEST_B, 1]),
        )
        assert ours <= 2 * best.cost * (1 + 1e-5)


def test_laws_side_by_side_are_those_fitted_alone() -> None:
    generator = np.random.default_rng(0)
    rows = np.stack([law(*truth).errors(SIZES)[0] for truth in LAWS.values()])
    rows *= 1 + 0.05 * generator.standard_normal(rows.shape)
    together = fit(SIZES, rows, EVEN)
    for number, row in enumerate(rows):
        assert together.b[number] == pytest.approx(fit(SIZES, row[None], EVEN).b[0])


def test_without_a_floor_c_is_0() -> None:
    truth = law(*LAWS["high floor"])
    found = fit(SIZES, truth.errors(SIZES), EVEN, floor=False)
    assert found.c[0] == 0
    assert found.b[0] < truth.b[0]


@pytest.mark.parametrize("errors", [np.linspace(0.1, 0.3, 7), np.full(7, 0.2), np.zeros(7)])
def test_errors_that_do_not_fall_give_a_flat_law(errors: Floats) -> None:
    found = fit(SIZES, errors[None], EVEN)
    assert found.errors(SIZES)[0] == pytest.approx(np.full(7, errors.mean()), abs=1e-6)


def test_a_size_with_more_weight_is_met_closer() -> None:
    errors = law(1.0, 0.5, 0.0).errors(SIZES)
    errors[0, 3] *= 1.2
    heavy = np.where(np.arange(7) == 3, 1e6, 1.0)
    misses = [np.abs(errors - fit(SIZES, errors, w).errors(SIZES))[0, 3] for w in (EVEN, heavy)]
    assert misses[1] < misses[0] / 100
