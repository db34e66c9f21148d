"""Steps onto a hyperplane: they arrive, stay in the box, and none of the norm is shorter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from robustness.attacks.hyperplane import step_onto
from torchkeep.threat_model import Norm

ORDER = {Norm.LINF: torch.inf, Norm.L2: 2, Norm.L1: 1}


def problem(seed: int, pixels: int = 12, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, pixels, generator=generator, dtype=torch.float64)
    points = points.mul(3).sub(1).clamp(0, 1)  # a third at each end
    normal = torch.randn(count, pixels, generator=generator, dtype=torch.float64)
    normal[:, 0] = 0
    return points, normal


def reachable(points: torch.Tensor, normal: torch.Tensor, share: float) -> torch.Tensor:
    """Return the gap to a hyperplane that the box reaches after `share` of its way."""
    corner = torch.where(normal > 0, 1.0, 0.0)
    return share * (normal * (corner - points)).sum(1)


@pytest.mark.parametrize("norm", list(Norm))
@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=st.integers(0, 2**16), share=st.floats(0, 1), back=st.booleans())
def test_a_step_arrives_inside_the_box(norm: Norm, seed: int, share: float, back: bool) -> None:
    points, normal = problem(seed)
    normal = -normal if back else normal
    gap = reachable(points, normal, share)
    step = step_onto(points, normal, gap, norm)
    assert torch.allclose((normal * step).sum(1), gap, atol=1e-5)
    assert ((points + step) >= -1e-9).all()
    assert ((points + step) <= 1 + 1e-9).all()
    assert (step[:, 0] == 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_no_step_is_shorter_in_linf_and_l1(seed: int) -> None:
    points, normal = problem(seed, count=1)
    gap = reachable(points, normal, 0.6)
    x, w = points[0].numpy(), normal[0].numpy()
    pixels = len(x)
    bounds = [(-value, 1 - value) for value in x]
    identity, ones = np.eye(pixels), np.ones((pixels, 1))
    linf = linprog(
        np.r_[np.zeros(pixels), 1],
        A_ub=np.r_[np.c_[identity, -ones], np.c_[-identity, -ones]],
        b_ub=np.zeros(2 * pixels),
        A_eq=np.r_[w, 0][None],
        b_eq=gap.numpy(),
        bounds=[*bounds, (0, None)],
    )
    l1 = linprog(
        np.r_[np.zeros(pixels), np.ones(pixels)],
        A_ub=np.r_[np.c_[identity, -identity], np.c_[-identity, -identity]],
        b_ub=np.zeros(2 * pixels),
        A_eq=np.r_[w, np.zeros(pixels)][None],
        b_eq=gap.numpy(),
        bounds=[*bounds, *[(0, None)] * pixels],
    )
    for norm, best in ((Norm.LINF, linf.fun), (Norm.L1, l1.fun)):
        step = step_onto(points, normal, gap, norm)
        assert torch.linalg.vector_norm(step, ORDER[norm]).item() == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_no_step_is_shorter_in_l2(seed: int) -> None:
    points, normal = problem(seed, count=1)
    gap = reachable(points, normal, 0.5)
    x, w = points[0].numpy(), normal[0].numpy()
    best = minimize(
        lambda d: (d**2).sum(),
        np.zeros_like(x),
        jac=lambda d: 2 * d,
        bounds=[(-value, 1 - value) for value in x],
        constraints={"type": "eq", "fun": lambda d: w @ d - gap.item(), "jac": lambda d: w},
        method="SLSQP",
    )
    step = step_onto(points, normal, gap, Norm.L2)
    assert step.norm().item() == pytest.approx(best.fun**0.5, abs=1e-4)


@pytest.mark.parametrize("norm", list(Norm))
def test_a_hyperplane_out_of_reach_is_come_close_to(norm: Norm) -> None:
    points, normal = problem(0)
    step = step_onto(points, normal, reachable(points, normal, 3.0), norm)
    moving = normal != 0
    corner = torch.where(normal > 0, 1.0, 0.0).double()
    assert torch.allclose((points + step)[moving], corner[moving])
    assert torch.isfinite(step_onto(points, normal * 0, torch.ones(4).double(), norm)).all()
