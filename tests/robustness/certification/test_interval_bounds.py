"""Boxes hold what they claim to hold, and nothing is certified that an attack can fool."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from robustness.attacks.pgd import PGD
from robustness.certification.interval_bounds import certified, image_box, propagate, worst_logits
from torchkeep.architectures import Classifier, Normalise, build
from torchkeep.errors import SettingsError
from torchkeep.image_shape import ImageShape
from torchkeep.threat_model import Epsilon, Norm, ThreatModel

ROUNDING = 1e-4
CLASSES = 4


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def stacks(draw: st.DrawFn) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """Small random networks of layers that have a rule, and the shape of their images."""
    channels, height, width = (
        draw(st.integers(1, 3)),
        draw(st.integers(3, 6)),
        draw(st.integers(3, 6)),
    )
    layers: list[nn.Module] = []
    with torch.random.fork_rng():
        torch.manual_seed(draw(st.integers(0, 2**16)))
        if draw(st.booleans()):
            layers.append(Normalise([0.1 * (k + 1) for k in range(channels)], [0.3] * channels))
        hidden = channels
        for _ in range(draw(st.integers(0, 2))):
            groups = draw(st.sampled_from([1, hidden]))
            outputs = groups * draw(st.integers(1, 3))
            conv = nn.Conv2d(
                hidden,
                outputs,
                kernel_size=draw(st.integers(1, 2)),
                stride=draw(st.integers(1, 2)),
                padding=draw(st.integers(0, 2)),
                groups=groups,
                bias=draw(st.booleans()),
            )
            layers.append(nn.Sequential(conv, nn.ReLU()) if draw(st.booleans()) else conv)
            hidden = outputs
        layers.append(nn.Flatten())
        with torch.no_grad():
            features = nn.Sequential(*layers)(torch.zeros(1, channels, height, width)).shape[1]
        for _ in range(draw(st.integers(0, 2))):
            size = draw(st.integers(1, 6))
            layers += [nn.Linear(features, size, bias=draw(st.booleans())), nn.ReLU()]
            features = size
        layers.append(nn.Linear(features, CLASSES))
        for layer in layers:
            for weight in layer.parameters():
                weight.detach().mul_(3)
    return nn.Sequential(*layers), (channels, height, width)


def samples(images: Tensor, eps: float, count: int, seed: int) -> Tensor:
    """Return points of the Linf ball in valid pixels, half of them corners: count B C H W."""
    noise = 2 * torch.rand((count, *images.shape), generator=rng(seed)) - 1
    noise[::2] = noise[::2].sign()
    return (images + eps * noise).clamp(0, 1)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(drawn=stacks(), eps=st.floats(0, 1), seed=st.integers(0, 2**16))
def test_no_point_of_the_ball_leaves_the_box(
    drawn: tuple[nn.Sequential, tuple[int, int, int]], eps: float, seed: int
) -> None:
    network, shape = drawn
    images = torch.rand(3, *shape, generator=rng(seed))
    with torch.no_grad():
        centre, radius = propagate(network, image_box(images, eps))
        assert (radius >= 0).all()
        slack = ROUNDING * (1 + centre.abs() + radius)
        for points in samples(images, eps, 20, seed):
            assert ((network(points) - centre).abs() <= radius + slack).all()


@settings(deadline=None, max_examples=60, derandomize=True)
@given(drawn=stacks(), eps=st.floats(0.001, 0.5), seed=st.integers(0, 2**16))
def test_no_point_of_the_ball_is_worse_than_the_worst_logits(
    drawn: tuple[nn.Sequential, tuple[int, int, int]], eps: float, seed: int
) -> None:
    network, shape = drawn
    model = Classifier(network[:-1], network[-1])  # type: ignore[arg-type]
    images = torch.rand(4, *shape, generator=rng(seed))
    labels = torch.randint(CLASSES, (4,), generator=rng(seed))
    with torch.no_grad():
        worst = worst_logits(model, images, labels, eps)
        assert (worst.gather(1, labels[:, None]) == 0).all()
        threat = ThreatModel(norm=Norm.LINF, eps=Epsilon(eps))
        attacked = PGD(threat=threat, steps=4, step_size=eps / 2)(model, images, labels).images
        for points in (attacked, *samples(images, eps, 20, seed)):
            logits = model(points)
            shifted = logits - logits.gather(1, labels[:, None])
            assert (shifted <= worst + ROUNDING * (1 + worst.abs())).all()


def small(seed: int = 0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build("small_cnn", ImageShape(channels=1, height=8, width=8), 10, {})


def linear(inputs: int, outputs: int) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(inputs, outputs)


def batch(count: int = 64) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=rng(1))


def test_at_radius_nothing_the_worst_logits_are_the_differences() -> None:
    model, images = small(), batch()
    labels = torch.randint(10, (64,), generator=rng(2))
    with torch.no_grad():
        logits = model(images)
        worst = worst_logits(model, images, labels, 0.0)
        assert torch.allclose(worst, logits - logits.gather(1, labels[:, None]), atol=1e-5)
        expected = logits.argmax(1) == labels
        assert torch.equal(certified(model, images, labels, 0.0), expected)


def test_one_linear_layer_is_bounded_exactly() -> None:
    head = linear(12, CLASSES)
    model = Classifier(nn.Sequential(nn.Flatten()), head)
    images = 0.3 + 0.4 * torch.rand(5, 3, 2, 2, generator=rng(0))
    labels = torch.tensor([0, 1, 2, 3, 0])
    eps = 0.2
    with torch.no_grad():
        worst = worst_logits(model, images, labels, eps)
        for other in range(CLASSES):
            slope = head.weight[other] - head.weight[labels]
            points = images.flatten(1) + eps * slope.sign()
            logits = head(points)
            reached = logits[:, other] - logits.gather(1, labels[:, None])[:, 0]
            assert torch.allclose(worst[:, other], reached, atol=1e-5)


def test_valid_pixels_bound_the_box() -> None:
    images = torch.tensor([0.0, 0.05, 0.5, 1.0]).view(1, 1, 2, 2)
    centre, radius = image_box(images, 0.1)
    assert torch.allclose(centre - radius, torch.tensor([0, 0, 0.4, 0.9]).view(1, 1, 2, 2))
    assert torch.allclose(centre + radius, torch.tensor([0.1, 0.15, 0.6, 1.0]).view(1, 1, 2, 2))


def test_bounds_grow_with_the_radius() -> None:
    model, images, labels = small(), batch(), torch.zeros(64).long()
    others = torch.arange(10) > 0
    with torch.no_grad():
        bounds = [worst_logits(model, images, labels, eps)[:, others] for eps in (0, 0.01, 0.1)]
    assert (bounds[0] < bounds[1]).all()
    assert (bounds[1] < bounds[2]).all()


def test_worst_logits_have_gradients_for_training() -> None:
    model, images = small(), batch(8)
    worst = worst_logits(model, images, torch.zeros(8).long(), 0.05)
    weights = list(model.parameters())
    gradients = torch.autograd.grad(worst.relu().sum(), weights)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert all(gradient.any() for gradient in gradients)


def test_the_network_is_left_as_it_was() -> None:
    model, images = small().train(), batch(4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    certified(model, images, torch.zeros(4).long(), 0.1)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def trained() -> tuple[Classifier, Tensor, Tensor]:
    """A network that has learnt, by its worst logits, which half of an image is lighter."""
    images = 0.3 * torch.rand(200, 1, 8, 8, generator=rng(3))
    labels = torch.randint(2, (200,), generator=rng(4))
    images[labels == 0, :, :4] += 0.35
    images[labels == 1, :, 4:] += 0.35
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = ImageShape(channels=1, height=8, width=8)
        model = build("small_cnn", shape, 2, {"width": 4, "hidden": 20})
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(120):
        eps = 0.1 * min(1, step / 60)
        loss = nn.functional.cross_entropy(worst_logits(model, images, labels, eps), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model, images, labels


def test_what_is_certified_no_attack_fools() -> None:
    model, images, labels = trained()
    sure_of, fooled_by = [], []
    for eps in (0.05, 0.1, 0.15, 0.2):
        with torch.no_grad():
            sure = certified(model, images, labels, eps)
        threat = ThreatModel(norm=Norm.LINF, eps=Epsilon(eps))
        attack = PGD(threat=threat, steps=10, step_size=eps / 3)
        fooled = attack(model, images, labels).successful
        assert not (sure & fooled).any()
        sure_of.append(int(sure.sum()))
        fooled_by.append(int(fooled.sum()))
    assert sure_of[1] > 190  # neither is idle, and they meet in between
    assert sure_of[2] > 20
    assert fooled_by[3] > 150
    assert sure_of == sorted(sure_of, reverse=True)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_cannot_be_computed_is_not_certified(wrong: float) -> None:
    model, images = small(), batch(4)
    with torch.no_grad():
        labels = model(images).argmax(1)
        assert certified(model, images, labels, 0.0).all()
        model.head.weight[:, 0] = wrong
        assert not certified(model, images, labels, 0.0).any()


class Residual(nn.Sequential):
    """A sequence with a shortcut: a type that has a rule, with another forward pass."""

    def forward(self, hidden: Tensor) -> Tensor:
        through: Tensor = super().forward(hidden)  # type: ignore[no-untyped-call]
        return hidden + through


class Doubled(nn.Linear):
    def forward(self, hidden: Tensor) -> Tensor:
        return 2 * super().forward(hidden)


UNKNOWN: Mapping[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: nn.BatchNorm2d(1),
    "pooling": lambda: nn.MaxPool2d(2),
    "GELU": nn.GELU,
    "leaky ReLU": nn.LeakyReLU,
    "dropout": nn.Dropout,
    "transposed": lambda: nn.ConvTranspose2d(1, 1, 1),
    "circular": lambda: nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),
    "residual": lambda: Residual(nn.Conv2d(1, 1, 1)),
    "doubled": lambda: Doubled(8, 8),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_layer_without_a_rule_is_refused_in_one_line(name: str) -> None:
    layer = UNKNOWN[name]()
    network = nn.Sequential(nn.Sequential(layer), nn.Flatten())
    with pytest.raises(SettingsError) as caught:
        propagate(network, image_box(torch.rand(1, 1, 8, 8), 0.1))
    assert "\n" not in str(caught.value)


def test_a_network_with_batch_statistics_is_refused() -> None:
    model = build("resnet18", ImageShape(channels=3, height=8, width=8), 10, {"width": 4})
    with pytest.raises(SettingsError, match="BatchNorm2d"):
        certified(model, torch.rand(1, 3, 8, 8), torch.zeros(1).long(), 0.1)


def test_a_reparametrised_layer_is_bounded_by_the_weights_it_uses() -> None:
    layer = weight_norm(linear(4, 3))
    low, high = torch.zeros(1, 4), torch.rand(1, 4, generator=rng(0))
    with torch.no_grad():
        centre, radius = propagate(layer, ((low + high) / 2, (high - low) / 2))
        corners = torch.cartesian_prod(*([torch.tensor([0.0, 1.0])] * 4)) * high
        assert torch.allclose(layer(corners).amax(0), (centre + radius)[0], atol=1e-6)
        assert torch.allclose(layer(corners).amin(0), (centre - radius)[0], atol=1e-6)
