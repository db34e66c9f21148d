"""Many features against a reference's sketch, and features that cannot be measured."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from scipy import stats

from monitoring.drift import Distances, Note, distances, distances_of_columns, two_samples
from monitoring.quantile_sketch import sketch
from monitoring.shares import psi_band
from tests.monitoring.distances.samples import messy_column

Column = NDArray[Any]


def sets(rows: int, current_rows: int) -> tuple[Column, Column]:
    """Return a reference and a window of four features: the last two drift."""
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(rows, 4)), rng.normal(size=(current_rows, 4))
    one[:, 1], other[:, 1] = np.maximum(one[:, 1], 0), np.maximum(other[:, 1], 0)
    other[:, 2] += 0.5
    one[:, 3], other[:, 3] = np.clip(one[:, 3], 0, 1), np.clip(other[:, 3] * 2, 0, 1)
    return one, other


def test_a_sketch_is_within_a_percent_of_all_rows_where_there_is_drift() -> None:
    reference, window = sets(100_000, 20_000)
    found = distances(sketch(reference), window, reference_rows=len(reference))
    for feature in (2, 3):
        one, other = reference[:, feature], window[:, feature]
        assert found.ks[feature] == pytest.approx(stats.ks_2samp(one, other).statistic, rel=0.01)
        assert found.wasserstein[feature] == pytest.approx(
            stats.wasserstein_distance(one, other), rel=0.01
        )
        whole = two_samples(one, other)
        for name in ("kl", "jensen_shannon", "psi", "effect"):
            assert getattr(found, name)[feature] == pytest.approx(
                getattr(whole, name)[0], rel=0.01
            ), name
    assert found.note == (Note.OK,) * 4
    assert (found.ks_p_value[:2] > 0.01).all()
    assert (found.ks_p_value[2:] < 1e-100).all()
    assert found.effect[2] == pytest.approx(0.5, abs=0.02)
    assert found.effect_iqr[2] == pytest.approx(0.5 / 1.349, abs=0.02)


def test_false_alarms_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(4)
    reference = sketch(rng.normal(size=(6000, 300)))
    found = distances(reference, rng.normal(size=(100, 300)), reference_rows=6000)
    assert 0.02 < (found.ks_p_value < 0.05).mean() < 0.08
    assert 0.01 < (found.psi > found.psi_by_chance).mean() < 0.08


def test_threads_and_pieces_change_nothing() -> None:
    reference, window = sets(5000, 500)
    quantiles = sketch(reference)
    alone, together = distances(quantiles, window), distances(quantiles, window, threads=2)
    columns = distances_of_columns(quantiles, [column.copy() for column in window.T])
    for field in fields(Distances):
        np.testing.assert_array_equal(getattr(alone, field.name), getattr(together, field.name))
        np.testing.assert_array_equal(getattr(alone, field.name), getattr(columns, field.name))


def test_what_cannot_be_measured_is_named() -> None:
    rng = np.random.default_rng(5)
    reference = np.tile(rng.normal(size=(1000, 1)), 7)
    reference[:, 4], reference[:, 5], reference[:, 6] = 0.25, 0.25, np.nan
    window = rng.normal(size=(50, 7))
    window[:, 1] = np.nan
    window[:-3, 2] = np.inf
    window[:10, 3] = -np.inf
    window[:, 4] = 0.25
    found = distances(sketch(reference), window)
    assert found.note == ("ok", "all_nan", "too_few", "ok", "constant", "constant", "all_nan")
    np.testing.assert_array_equal(found.rows, [50, 0, 3, 40, 50, 50, 50])
    np.testing.assert_allclose(found.missing, [0, 1, 0.94, 0.2, 0, 0, 0])
    for field in (
        "kl",
        "wasserstein",
        "jensen_shannon",
        "psi",
        "psi_by_chance",
        "ks",
        "ks_p_value",
    ):
        np.testing.assert_array_equal(
            np.isnan(getattr(found, field)), [False, True, False, False, False, False, True]
        )
    assert (found.ks[4], found.wasserstein[4], found.effect[4], found.psi[4]) == (0, 0, 0, 0)
    assert (found.ks[5] > 0.4, found.effect[5], found.psi[5] > 0.25) == (True, np.inf, True)


def test_no_rows_and_no_features_are_no_fault() -> None:
    empty = distances(np.zeros((2, 5)), np.empty((0, 2)))
    assert empty.note == (Note.ALL_NAN, Note.ALL_NAN)
    assert np.isnan(empty.missing).all()
    assert len(distances(np.empty((0, 5)), np.empty((3, 0)))) == 0
    assert distances(np.empty((1, 0)), np.ones((3, 1))).note == (Note.ALL_NAN,)


@pytest.mark.parametrize(
    ("reference", "values"), [((2, 5), (4, 3)), ((5,), (4, 5)), ((1, 5), (4,))]
)
def test_shapes_that_do_not_fit_are_refused(
    reference: tuple[int, ...], values: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="expected F Q and N F"):
        distances(np.zeros(reference), np.zeros(values))


@settings(deadline=None, max_examples=200, derandomize=True)
@given(messy_column(), messy_column())
def test_nothing_makes_it_fail_or_warn(one: Column, other: Column) -> None:
    found = distances(sketch(one[:, None]), other[:, None], reference_rows=len(one))
    finite = int(np.isfinite(other).sum())
    assert found.rows[0] == finite
    measurable = finite > 0 and np.isfinite(one).any()
    assert (found.note[0] is Note.ALL_NAN) == (not measurable)
    assert np.isfinite([found.kl[0], found.psi[0], found.ks[0], found.wasserstein[0]]).all() == (
        measurable
    )


def test_values_far_from_zero_keep_their_digits() -> None:
    rng = np.random.default_rng(6)
    one, other = rng.normal(size=1000), rng.normal(1, size=1000)
    near, far = two_samples(one, other), two_samples(one + 1e8, other + 1e8)
    assert far.wasserstein[0] == pytest.approx(near.wasserstein[0], rel=1e-6)


def test_the_bands_of_the_index() -> None:
    assert [psi_band(each) for each in (np.nan, 0.0, 0.0999, 0.1, 0.2499, 0.25, 9.0)] == [
        "unknown", "none", "none", "moderate", "moderate", "large", "large",
    ]  # fmt: skip
