from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from monitoring.proportion import IntervalMethod, Proportion, proportion


@pytest.mark.parametrize(
    ("method", "peer"), [(IntervalMethod.WILSON, "wilson"), (IntervalMethod.EXACT, "beta")]
)
@given(counts=st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_intervals_are_those_of_statsmodels(
    method: IntervalMethod, peer: str, counts: tuple[int, int]
) -> None:
    found = proportion(*counts, method=method)
    low, high = proportion_confint(*counts, alpha=0.05, method=peer)
    assert found.value == counts[0] / counts[1]
    assert found.low == pytest.approx(low, abs=1e-9)
    assert found.high == pytest.approx(high, abs=1e-9)


def test_a_share_of_nothing_is_not_known() -> None:
    assert proportion(0, 0) == Proportion(0, 0, None, None, None)


@pytest.mark.parametrize("counts", [(3, 2), (-1, 2), (1, 0)])
def test_impossible_counts_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="successes of"):
        proportion(*counts)
