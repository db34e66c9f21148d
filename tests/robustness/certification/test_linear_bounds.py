"""Linear bounds: never beaten by a point of the ball, and tighter than intervals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustness.attacks.apgd import TargetedAPGD
from robustness.certification import interval_bounds, linear_bounds
from robustness.certification.curve import certified_at, has_rules
from robustness.fitting import to_unit
from robustness.screened_model import load_classifier
from torchkeep.architectures import Classifier, Normalise, build
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits
from torchkeep.errors import SettingsError
from torchkeep.image_shape import ImageShape
from torchkeep.threat_model import Epsilon, Norm, ThreatModel


def network(seed: int, *, hidden: bool = True) -> Classifier:
    """A small convolutional network with random weights and biases of both signs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = [Normalise([0.4, 0.5], [0.3, 0.2])]
        if hidden:
            layers += [nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU()]
            layers += [nn.Conv2d(4, 3, 2, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 8)]
            layers += [nn.ReLU()]
        else:
            layers += [nn.Flatten(), nn.Linear(2 * 5 * 5, 8)]
        return Classifier(nn.Sequential(*layers), nn.Linear(8, 4)).requires_grad_(False)


def images(seed: int, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, 5, 5, generator=generator).mul(1.6).sub(0.3).clamp(0, 1)


def margin_of(model: Classifier, points: Tensor, labels: Tensor) -> Tensor:
    logits = model(points)
    return logits.gather(1, labels[:, None]) - logits


@settings(deadline=None, max_examples=40, derandomize=True)
@given(seed=st.integers(0, 2**16), eps=st.floats(0.001, 0.5), tighten=st.booleans())
def test_no_point_of_the_ball_beats_a_bound(seed: int, eps: float, tighten: bool) -> None:
    model, clean = network(seed), images(seed)
    labels = model(clean).argmax(1)
    lowest = linear_bounds.margins(model, clean, labels, eps, tighten=tighten)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(10):
        corner = torch.randint(0, 2, clean.shape, generator=generator) * 2 - 1
        inside = torch.rand(clean.shape, generator=generator) * 2 - 1
        for move in (corner, inside):
            points = (clean + eps * move).clamp(0, 1)
            assert (lowest <= margin_of(model, points, labels) + 1e-4).all()


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**16), eps=st.floats(0.001, 0.3))
def test_lines_are_tighter_than_intervals(seed: int, eps: float) -> None:
    model, clean = network(seed), images(seed)
    labels = model(clean).argmax(1)
    by_interval = interval_bounds.certified(model, clean, labels, eps)
    by_lines = linear_bounds.certified(model, clean, labels, eps)
    assert (by_lines | ~by_interval).all()
    tight = linear_bounds.margins(model, clean, labels, eps)
    worst = -interval_bounds.worst_logits(model, clean, labels, eps)
    assert tight.sum() >= worst.sum() - 1e-3


@pytest.mark.parametrize("padding", ["same", "valid", 1, (2, 0)])
@pytest.mark.parametrize("kernel", [2, 3])
def test_every_padding_of_a_convolution_is_bounded(
    kernel: int, padding: str | int | tuple[int, int]
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(kernel)
        layers = [nn.Conv2d(2, 3, kernel, padding=padding, dilation=2), nn.ReLU(), nn.Flatten()]
        width = nn.Sequential(*layers)(images(0)).shape[1]
        model = Classifier(nn.Sequential(*layers), nn.Linear(width, 4)).requires_grad_(False)
    clean = images(kernel)
    labels = model(clean).argmax(1)
    assert has_rules(model, clean)
    exact = linear_bounds.margins(model, clean, labels, 1e-7)
    assert torch.allclose(exact, margin_of(model, clean, labels), atol=1e-4)
    lowest = linear_bounds.margins(model, clean, labels, 0.1)
    generator = torch.Generator().manual_seed(kernel)
    for _ in range(20):
        corner = torch.randint(0, 2, clean.shape, generator=generator) * 2 - 1
        points = (clean + 0.1 * corner).clamp(0, 1)
        assert (lowest <= margin_of(model, points, labels) + 1e-4).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_linear_network_is_bounded_exactly(seed: int) -> None:
    model, clean = network(seed, hidden=False), images(seed)
    labels = model(clean).argmax(1)
    eps = 0.1
    lowest = linear_bounds.margins(model, clean, labels, eps)
    for other in range(4):
        pixels = clean.clone().requires_grad_()
        margin = margin_of(model, pixels, labels)[:, other]
        (gradient,) = torch.autograd.grad(margin.sum(), pixels)
        worst = torch.where(gradient > 0, clean - eps, clean + eps).clamp(0, 1)
        there = margin_of(model, worst, labels)[:, other]
        assert torch.allclose(lowest[:, other], there, atol=1e-4)


def test_what_is_proved_withstands_attacks_and_some_of_it_is_proved(
    digits_artifact: ModelArtifact, digits: Splits
) -> None:
    model = load_classifier(digits_artifact).requires_grad_(False)
    test = digits.test.subset(range(60))
    clean, labels = to_unit(test), torch.from_numpy(test.labels)
    radii = (0.005, 0.02, 0.05)
    proved = torch.from_numpy(certified_at("linear", model, clean, labels, radii))
    by_interval = torch.from_numpy(certified_at("interval", model, clean, labels, radii))
    assert (proved | ~by_interval).all()
    assert proved[:, 1].sum() > by_interval[:, 1].sum()
    assert (proved[:, 1:] <= proved[:, :-1]).all()
    for place, eps in enumerate(radii):
        threat = ThreatModel(norm=Norm.LINF, eps=Epsilon(eps))
        turned = TargetedAPGD(threat=threat, steps=20)(model, clean, labels).successful
        assert not (turned & proved[:, place]).any()


def test_a_wrong_image_is_never_certified() -> None:
    model, clean = network(0), images(0)
    wrong = (model(clean).argmax(1) + 1) % 4
    assert not linear_bounds.certified(model, clean, wrong, 1e-4).any()
    assert not certified_at("linear", model, clean, wrong, [1e-4]).any()


@pytest.mark.parametrize("radii", [[], [0.0], [0.2, 0.1], [0.1, 0.1], [1.5], [float("nan")]])
def test_radii_that_make_no_sense_are_refused(radii: list[float]) -> None:
    with pytest.raises(SettingsError, match="ascending"):
        certified_at("linear", network(0), images(0), torch.zeros(6).long(), radii)


def test_networks_without_rules_are_told_apart() -> None:
    shape = ImageShape(channels=3, height=16, width=16)
    residual = build("resnet18", shape, 4, {"width": 4}).eval()
    assert not has_rules(residual, torch.rand(1, 3, 16, 16))
    assert has_rules(network(0), images(0))
