"""The attacker's view decides what the served model decides, and has a gradient everywhere."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustness.adaptive.joint_model import JointModel, head_limits
from robustness.fitting import to_unit
from robustness.fusion import Fusion
from robustness.screened_model import ScreenedModel, load_screened_model
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits


@pytest.fixture(scope="module")
def screened(digits_artifact: ModelArtifact) -> ScreenedModel:
    return load_screened_model(digits_artifact, "cpu")


def wild(images: Tensor, count: int, seed: int) -> Tensor:
    """Images moved by noise of every size, so that scores lie on both sides of the threshold."""
    generator = torch.Generator().manual_seed(seed)
    chosen = images[torch.randint(0, len(images), (count,), generator=generator)]
    size = torch.rand(count, 1, 1, 1, generator=generator)
    noise = torch.randn(chosen.shape, generator=generator)
    return (chosen + size * noise).clamp(0, 1)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    seed=st.integers(0, 2**16),
    heads=st.integers(1, 3),
    count=st.integers(2, 60),
    threshold=st.floats(0.01, 9),
    ties=st.booleans(),
)
def test_limits_on_scores_mean_what_the_fused_threshold_means(
    seed: int, heads: int, count: int, threshold: float, ties: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    calibration = torch.randn(heads, count, generator=generator)
    scores = 2 * torch.randn(heads, 200, generator=generator)
    if ties:
        calibration, scores = calibration.round(), scores.round()
    fusion = Fusion(calibration)
    limits = head_limits(fusion, threshold)
    inside = (scores <= limits[:, None]).all(0)
    fused = fusion(scores.clone())[1]
    sure = (fused - threshold).abs() > 1e-4  # the curved part is inverted in float32
    assert torch.equal(inside[sure], (fused <= threshold)[sure])


def test_verdicts_are_those_that_are_served(screened: ScreenedModel, digits: Splits) -> None:
    images = wild(to_unit(digits.test), 2000, seed=0)
    joint = JointModel(screened)
    served = ~torch.from_numpy(screened.screen(images.numpy()).suspicious)
    assert torch.equal(joint.accepted(images), served)
    assert 0.05 < served.float().mean() < 0.95
    within_limits = (joint.sight(images).excess <= 0).all(1)
    assert (within_limits == served).float().mean() > 0.999


def test_what_is_not_finite_is_never_accepted(screened: ScreenedModel, digits: Splits) -> None:
    images = to_unit(digits.test)[:3]
    images[1, 0, 2, 2] = math.nan
    assert not JointModel(screened).accepted(images)[1]


def test_every_head_has_a_gradient_though_one_is_a_table(
    screened: ScreenedModel, digits: Splits
) -> None:
    joint = JointModel(screened)
    images = wild(to_unit(digits.test), 64, seed=1).requires_grad_()
    sight = joint.sight(images)
    assert sight.excess.shape == (64, 2)
    for head in range(2):
        (gradient,) = torch.autograd.grad(sight.excess[:, head].sum(), images, retain_graph=True)
        assert (gradient.flatten(1).abs().sum(1) > 0).float().mean() > 0.8
    assert torch.equal(joint(images), screened.classifier(images))


def test_a_step_along_the_stand_in_lowers_the_real_score_of_the_table(
    screened: ScreenedModel, digits: Splits
) -> None:
    joint = JointModel(screened)
    images = wild(to_unit(digits.test), 200, seed=2)
    pixels = images.clone().requires_grad_()
    before = joint.sight(pixels).excess[:, 1]
    (gradient,) = torch.autograd.grad(before.sum(), pixels)
    after = joint.sight((images - 0.02 * gradient.sign()).clamp(0, 1)).excess[:, 1]
    assert (after < before.detach()).float().mean() > 0.7


def test_a_second_look_is_part_of_what_is_accepted(screened: ScreenedModel, digits: Splits) -> None:
    from robustness.second_look import SecondLook, standard_squeezers

    looked = copy.copy(screened)
    cutoff = screened.threshold / 2
    distances = torch.linspace(0.0, 0.1, 50)
    looked.second_look = SecondLook(
        screened.classifier, standard_squeezers(), cutoff=cutoff, distances=distances
    )
    images = wild(to_unit(digits.test), 500, seed=3)
    joint = JointModel(looked)
    served = ~torch.from_numpy(looked.screen(images.numpy()).suspicious)
    assert torch.equal(joint.accepted(images), served)
    assert (joint.limits <= JointModel(screened).limits).all()


def test_going_forward_every_excess_is_that_of_the_real_head(
    screened: ScreenedModel, digits: Splits
) -> None:
    joint = JointModel(screened)
    images = wild(to_unit(digits.test), 300, seed=4)
    activations, logits = screened.classifier.activations(images)
    real = torch.stack([h.score(activations, logits) for h in screened.typed_heads()], dim=1)
    wanted = (real - joint.limits) / joint.spreads
    assert torch.allclose(joint.sight(images).excess, wanted, atol=1e-5)
