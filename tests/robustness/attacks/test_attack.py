"""Attacks stay in their ball, and the base class does not take their word for it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustness.attacks.attack import Attack
from robustness.attacks.catalogue import Effort, build
from robustness.attacks.perturbation import ascent_direction, distances, project, random_start
from robustness.attacks.pgd import PGD
from torchkeep.errors import SettingsError, TorchkeepError
from torchkeep.threat_model import SMALLEST, Epsilon, Norm, ThreatModel, parse_threat

LINF = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.1))


def linear_model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))


def images(count: int = 8, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    norm=st.sampled_from(list(Norm)),
    eps=st.floats(0.001, 3),
    seed=st.integers(0, 2**16),
    scale=st.floats(0, 100),
)
def test_projection_ends_in_the_ball_and_in_valid_pixels(
    norm: Norm, eps: float, seed: int, scale: float
) -> None:
    eps = min(eps, 1.0) if norm is Norm.LINF else eps  # more than a pixel's range is refused
    threat = ThreatModel(norm=norm, eps=Epsilon(eps))
    generator = torch.Generator().manual_seed(seed)
    clean = images(seed=seed)
    wild = torch.randn(clean.shape, generator=generator) * scale
    for perturbation in (project(clean, wild, threat), random_start(clean, threat, generator)):
        moved = clean + perturbation
        assert distances(clean, moved, norm).max() <= eps + 1e-5
        assert moved.min() >= -1e-6
        assert moved.max() <= 1 + 1e-6


@pytest.mark.parametrize("norm", list(Norm))
def test_a_step_has_length_one_and_a_zero_gradient_is_no_nan(norm: Norm) -> None:
    step = ascent_direction(images(), norm)
    assert torch.allclose(distances(torch.zeros_like(step), step, norm), torch.ones(8))
    assert torch.equal(ascent_direction(torch.zeros(2, 3, 4, 4), norm), torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize("norm", list(Norm))
def test_pgd_fools_a_linear_model_and_reports_it_truly(norm: Norm) -> None:
    model, clean = linear_model(), images(64)
    labels = model(clean).argmax(1)
    threat = ThreatModel(
        norm=norm, eps=Epsilon({Norm.LINF: 0.5, Norm.L2: 3.0, Norm.L1: 12.0}[norm])
    )
    result = PGD(threat=threat, steps=20, step_size=threat.eps / 5)(model, clean, labels)
    assert torch.equal(result.successful, model(result.images).argmax(1) != labels)
    assert result.successful.float().mean() > 0.9


def test_more_restarts_never_help_the_model() -> None:
    model, clean = linear_model(), images(64)
    labels = model(clean).argmax(1)
    fooled = [
        PGD(threat=LINF, steps=3, step_size=0.05, restarts=n)(model, clean, labels).successful
        for n in (1, 4)
    ]
    assert (fooled[1] | ~fooled[0]).all()


def test_pgd_repeats_under_its_seed() -> None:
    model, clean = linear_model(), images()
    labels = model(clean).argmax(1)
    attack = PGD(threat=LINF, steps=3, step_size=0.05, seed=7)
    assert torch.equal(attack(model, clean, labels).images, attack(model, clean, labels).images)


def test_no_images_are_no_error() -> None:
    model = linear_model()
    result = PGD(threat=LINF, steps=1, step_size=0.1)(model, images(0), torch.zeros(0).long())
    assert len(result.images) == 0


class Cheat(Attack):
    threat = LINF

    def __init__(self, move: float) -> None:
        self.move = move

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return images + self.move


@pytest.mark.parametrize("move", [0.2, -0.2, float("nan"), float("inf")])
def test_an_attack_that_leaves_its_threat_model_is_an_error(move: float) -> None:
    clean = images().clamp(0.4, 0.6)
    with pytest.raises(TorchkeepError, match="left its threat model"):
        Cheat(move)(linear_model(), clean, torch.zeros(8).long())


def test_an_attack_that_leaves_the_pixel_range_is_an_error() -> None:
    with pytest.raises(TorchkeepError, match="left its threat model"):
        Cheat(0.05)(linear_model(), torch.ones(2, 3, 4, 4), torch.zeros(2).long())


def test_the_model_is_attacked_in_evaluation_mode_and_put_back() -> None:
    model = linear_model().train()
    PGD(threat=LINF, steps=1, step_size=0.1)(model, images(), torch.zeros(8).long())
    assert model.training


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"restarts": 0}, {"step_size": 0.0}])
def test_numbers_that_make_no_attack_are_refused(wrong: dict[str, float]) -> None:
    arguments = {"steps": 1, "step_size": 0.1, **wrong}
    with pytest.raises(SettingsError):
        PGD(threat=LINF, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", list(Norm))
def test_a_radius_below_the_smallest_normal_float_is_refused_and_that_one_can_be_attacked(
    norm: Norm,
) -> None:
    for eps in (5e-324, 1e-39, math.nextafter(SMALLEST, 0)):
        with pytest.raises(SettingsError, match="less than float32 can reckon with") as refused:
            parse_threat(f"{norm}:{eps!r}")
        assert "\n" not in str(refused.value)
    least = parse_threat(f"{norm}:{SMALLEST!r}")
    model, dark = linear_model(), images() * (images(seed=1) > 0.5)  # small moves count on 0
    labels = model(dark).argmax(1)
    for name in ("fgsm", "pgd", "apgd-ce"):
        assert build(name, least, effort=Effort.QUICK)(model, dark, labels).images.isfinite().all()
