"""Fusion keeps order where p-values end, and lets the most alarmed head decide."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.fusion import Fusion


def fusion(seed: int = 0) -> Fusion:
    return Fusion(torch.randn(2, 50, generator=torch.Generator().manual_seed(seed)))


def test_within_calibration_the_score_is_the_smallest_p_value() -> None:
    p_values, fused = fusion()(torch.tensor([[0.0, 1.0], [0.5, -1.0]]))
    assert torch.allclose(fused, -p_values.amin(0).log())


def test_beyond_calibration_higher_is_still_more_suspicious() -> None:
    scores = torch.tensor([[3.0, 30.0, 300.0, 3e30], [0.0, 0.0, 0.0, 0.0]])
    p_values, fused = fusion()(scores)
    assert torch.equal(p_values[0], torch.full((4,), 1 / 51))
    assert (fused.diff() > 0).all()
    assert torch.isfinite(fused).all()


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0, 20), st.integers(0, 20))
def test_a_higher_head_score_never_lowers_the_fused_one(
    first: float, second: float, more: float, seed: int
) -> None:
    scores = torch.tensor([[first, first + more], [second, second]])
    fused = fusion(seed)(scores)[1]
    assert fused[1] >= fused[0]


@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_a_head_that_always_said_the_same_divides_by_nothing(constant: float) -> None:
    flat = Fusion(torch.full((1, 10), constant))
    assert torch.isfinite(flat(torch.tensor([[constant, constant + 1]]))[1]).all()


def test_what_is_not_a_number_stays_so() -> None:
    assert fusion()(torch.tensor([[float("nan")], [0.0]]))[1].isnan().all()
