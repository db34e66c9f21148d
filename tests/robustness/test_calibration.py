"""Calibration: the bound holds by definition, at the edges and on fresh draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from robustness.calibration import (
    allowed_exceedances,
    calibrate_threshold,
    clopper_pearson_upper,
    conformal_p_values,
    images_needed,
)
from robustness.detection_metrics import auroc, exceedance_rate
from torchkeep.errors import SettingsError

quick = settings(deadline=None, max_examples=60, derandomize=True)


@quick
@given(trials=st.integers(1, 5000), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_the_upper_bound_is_where_so_few_successes_become_improbable(
    trials: int, share: float, confidence: float
) -> None:
    successes = int(share * trials)
    bound = clopper_pearson_upper(successes, trials, confidence)
    if successes == trials:
        assert bound == 1
    else:
        assert binom.cdf(successes, trials, bound) == pytest.approx(1 - confidence, rel=1e-4)


@quick
@given(trials=st.integers(300, 20_000), target=st.floats(0.01, 0.5))
def test_the_largest_number_of_false_alarms_that_proves_the_target(
    trials: int, target: float
) -> None:
    allowed = allowed_exceedances(trials, target)
    assert clopper_pearson_upper(allowed, trials) <= target
    assert clopper_pearson_upper(allowed + 1, trials) > target


@quick
@given(target=st.floats(1e-9, 0.5))
def test_the_images_needed_are_just_enough(target: float) -> None:
    needed = images_needed(target)
    assert clopper_pearson_upper(0, needed) <= target * (1 + 1e-9)
    assert needed == 1 or clopper_pearson_upper(0, needed - 1) > target * (1 - 1e-9)


def test_too_few_images_say_how_many_are_needed() -> None:
    with pytest.raises(SettingsError, match="Give 299 or more"):
        calibrate_threshold(torch.rand(298), 0.01)
    assert allowed_exceedances(299, 0.01) == 0


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0, float("nan")])
def test_a_target_that_is_no_rate_is_refused(target: float) -> None:
    with pytest.raises(SettingsError):
        allowed_exceedances(1000, target)


@quick
@given(seed=st.integers(0, 1000), levels=st.sampled_from([3, 100, 10**6]))
def test_no_more_exceed_the_threshold_than_allowed_even_with_ties(seed: int, levels: int) -> None:
    scores = torch.randint(levels, (700,), generator=torch.Generator().manual_seed(seed)).float()
    threshold = calibrate_threshold(scores, 0.02)
    assert threshold.exceedances == int((scores > threshold.value).sum())
    assert threshold.exceedances <= allowed_exceedances(700, 0.02)
    assert threshold.fpr_upper_bound <= 0.02


def test_the_bound_holds_on_fresh_data_about_as_often_as_promised() -> None:
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(300):
        value = calibrate_threshold(torch.rand(1000, generator=generator), 0.02).value
        held += value >= 0.98  # the true false-positive rate of uniform scores is 1 - value
    assert 0.95 <= held / 300 <= 1


@quick
@given(seed=st.integers(0, 1000), levels=st.sampled_from([4, 10**6]))
def test_conformal_p_values_as_defined(seed: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    calibration = torch.randint(levels, (2, 30), generator=generator).float()
    scores = torch.randint(levels, (2, 9), generator=generator).float()
    expected = (1 + (calibration[:, None, :] >= scores[:, :, None]).sum(2)) / 31
    found = conformal_p_values(scores, calibration.sort(1).values)
    assert torch.allclose(found, expected)


def test_conformal_p_values_are_valid() -> None:
    generator = torch.Generator().manual_seed(0)
    calibration = torch.randn(1, 999, generator=generator).sort(1).values
    p_values = conformal_p_values(torch.randn(1, 20_000, generator=generator), calibration)
    for level in (0.01, 0.1, 0.5):
        assert (p_values <= level).float().mean() == pytest.approx(level, abs=0.03)


@quick
@given(
    clean=st.lists(st.integers(0, 5), min_size=1, max_size=20),
    attacked=st.lists(st.integers(0, 5), min_size=1, max_size=20),
)
def test_auroc_counts_pairs_and_halves_ties(clean: list[int], attacked: list[int]) -> None:
    pairs = [(a > c) + 0.5 * (a == c) for a in attacked for c in clean]
    found = auroc(np.array(clean, float), np.array(attacked, float))
    assert found == pytest.approx(sum(pairs) / len(pairs))


def test_rates_without_items_are_not_numbers() -> None:
    nothing = np.empty(0)
    assert np.isnan(auroc(nothing, np.ones(1)))
    assert np.isnan(exceedance_rate(nothing, 0))
    assert exceedance_rate(np.array([1.0, 2.0, 3.0]), 2.0) == pytest.approx(1 / 3)
