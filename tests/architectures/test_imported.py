"""A foreign network as a classifier says what it said, shows its taps, and is like any other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.architectures import networks
from tests.architectures.networks import GOOD, LogSoftmax, Probabilities, Residual, deep
from torchkeep.architectures import Classifier, build
from torchkeep.architectures.anatomy import check_taps, choose_taps, last_linear, observe
from torchkeep.architectures.foreign import trusting
from torchkeep.architectures.imported import wrap
from torchkeep.errors import SettingsError
from torchkeep.image_shape import ImageShape

NAMES = [network.__name__ for network in GOOD]


def some_images(network: nn.Module) -> Tensor:
    channels = 1 if isinstance(network, LogSoftmax) else 3
    return torch.rand(4, channels, 8, 8, generator=torch.Generator().manual_seed(1))


def made(maker: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return maker().eval()


def wrapped(network: nn.Module, **options: Any) -> Classifier:
    calls = observe(network, some_images(network))
    return wrap(network, head=last_linear(calls), taps=choose_taps(calls), **options).eval()


@pytest.mark.parametrize("maker", GOOD, ids=NAMES)
def test_it_says_what_the_network_said(maker: type[nn.Module]) -> None:
    network, model = made(maker), wrapped(made(maker))
    images = some_images(network)
    said, logits = network(images), model(images)
    if maker is LogSoftmax:
        logits = logits.log_softmax(1)
    if maker is Probabilities:
        logits = logits.softmax(1)
    assert torch.equal(said, logits)


@pytest.mark.parametrize("maker", GOOD, ids=NAMES)
def test_logits_are_the_head_of_the_features(maker: type[nn.Module]) -> None:
    model = wrapped(made(maker))
    images = some_images(made(maker))
    activations, logits = model.activations(images)
    features = model.features(images)
    assert torch.equal(logits, model(images))
    assert torch.equal(logits, model.head(features))
    assert torch.equal(activations[:, -model.head.in_features :], features)
    assert activations.shape[1] > features.shape[1]


@pytest.mark.parametrize("maker", GOOD, ids=NAMES)
def test_an_attacker_sees_the_same_gradient(maker: type[nn.Module]) -> None:
    network, model = made(maker), wrapped(made(maker))
    last = nn.NLLLoss() if maker is LogSoftmax else nn.CrossEntropyLoss()
    labels = torch.tensor([0, 1, 2, 3])
    gradients = []
    for of, loss in ((network, last), (model, nn.CrossEntropyLoss())):
        if maker is Probabilities and of is network:
            of, loss = nn.Sequential(*list(network)[:-1]), nn.CrossEntropyLoss()
        images = some_images(network).requires_grad_()
        loss(of(images), labels).backward()
        gradients.append(images.grad)
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-7)
    assert gradients[0].abs().max() > 0


@pytest.mark.parametrize(
    ("network", "head", "taps"),
    [
        (LogSoftmax, "fc2", ("conv1", "conv2")),
        (networks.FeaturesAndHead, "head", ("features.1",)),
        (Residual, "fc", ("stem.0", "conv1", "conv2")),
        (Probabilities, "3", ("1",)),
        (networks.Patches, "head", ("patch",)),
        (lambda: deep(1), "last", ("relu0",)),
        (lambda: deep(3), "last", ("relu0", "relu1", "relu2")),
        (lambda: deep(16), "last", ("relu0", "relu3", "relu7")),
    ],
)
def test_where_a_network_is_cut_and_tapped(
    network: Callable[[], nn.Module], head: str, taps: tuple[str, ...]
) -> None:
    found = made(network)
    calls = observe(found, some_images(found))
    assert (last_linear(calls), choose_taps(calls)) == (head, taps)


def test_taps_are_the_mean_and_the_maximum_of_each_channel_before_anything_changes_them() -> None:
    network = made(Residual)
    images = some_images(network)
    first = network.stem(images)
    model = wrap(network, head="fc", taps=("stem",)).eval()
    seen = model.activations(images)[0]
    assert first.min() < 0  # what the ReLU after it would have taken away, in place
    assert torch.equal(seen[:, :4], first.mean((2, 3)))
    assert torch.equal(seen[:, 4:8], first.amax((2, 3)))
    assert seen.shape == (4, 12)


def test_a_gradient_goes_through_taps_that_are_changed_in_place_later() -> None:
    model = wrap(made(Residual), head="fc", taps=("stem",)).eval()
    images = some_images(made(Residual)).requires_grad_()
    model.activations(images)[0][:, :8].sum().backward()
    assert images.grad.abs().max() > 0


def test_a_plain_pass_pools_nothing_and_keeps_nothing() -> None:
    model = wrapped(made(Residual))
    body = model.features[0]
    model(some_images(made(Residual)))
    assert body._pooled is None
    assert body.end.reached is None


def test_images_are_normalised_first() -> None:
    network, images = made(Residual), some_images(made(Residual))
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    model = wrapped(made(Residual), mean=mean, std=std)
    normalised = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.allclose(network(normalised), model(images), atol=1e-6)


def test_a_copy_is_a_network_of_its_own() -> None:
    model = wrapped(made(Residual))
    images = some_images(made(Residual))
    before = model.activations(images)[0]
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(2)
    assert torch.equal(model.activations(images)[0], before)
    assert not torch.equal(twin.activations(images)[0], before)


def test_the_options_of_a_manifest_build_it_anew() -> None:
    name = "tests.architectures.networks:LogSoftmax"
    options = {
        "arguments": {"classes": 3},
        "head": "fc2",
        "taps": ["conv2"],
        "mean": [0.5],
        "std": [0.25],
    }
    model = wrapped(made(lambda: LogSoftmax(classes=3)), mean=[0.5], std=[0.25])
    with trusting(name):
        again = build(name, ImageShape(channels=1, height=8, width=8), 3, options)
    again.load_state_dict(model.state_dict())
    images = some_images(made(LogSoftmax))
    assert torch.equal(again.eval()(images), model(images))
    assert again.activations(images)[0].shape == (4, 32 + 32)


@pytest.mark.parametrize(
    "changed",
    [
        {"head": "conv1"},
        {"head": "fc9"},
        {"head": ""},
        {"head": 3},
        {"taps": ["conv9"]},
        {"taps": 7},
        {"arguments": {"classes": 4}},
        {"arguments": {"depth": 4}},
        {"arguments": 5},
        {"mean": [0.5, 0.5]},
        {"std": [0.0]},
        {"std": ["a"]},
        {"mean": [], "std": [1.0]},
        {"more": 1},
    ],
)
def test_options_that_do_not_fit_are_a_settings_error(changed: dict[str, object]) -> None:
    name = "tests.architectures.networks:LogSoftmax"
    options = {
        "arguments": {"classes": 3},
        "head": "fc2",
        "taps": ["conv2"],
        "mean": [0.5],
        "std": [0.25],
    }
    with trusting(name), pytest.raises(SettingsError):
        build(name, ImageShape(channels=1, height=8, width=8), 3, options | changed)


def test_a_tap_that_cannot_be_is_refused_with_others() -> None:
    network = made(Residual)
    calls = observe(network, some_images(network))
    check_taps(calls, ("stem", "stem.1", "conv2"))
    for name in ("relu", "fc", "conv9"):  # called twice; no map; not there
        with pytest.raises(SettingsError, match=f"'{name}' cannot be tapped.*Name others"):
            check_taps(calls, ("stem", name))


def test_a_network_without_a_last_linear_cannot_be_cut() -> None:
    network = made(networks.NoLinear)
    with pytest.raises(SettingsError, match=r"calls no nn\.Linear exactly once"):
        last_linear(observe(network, some_images(network)))
