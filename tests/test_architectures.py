"""Architectures keep the contract that screening rests on: features, then head, taps pooled."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torchkeep.architectures import Classifier, build, names, register, registry
from torchkeep.errors import SettingsError
from torchkeep.image_shape import ImageShape

MNIST = ImageShape(channels=1, height=28, width=28)
CIFAR = ImageShape(channels=3, height=32, width=32)


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("small_cnn", MNIST, {}),
        ("small_cnn", ImageShape(channels=3, height=9, width=14), {"width": 2}),
        ("resnet18", CIFAR, {"width": 4}),
        ("resnet18", MNIST, {"width": 4}),
    ],
)
def test_logits_are_the_head_of_the_features(
    name: str, shape: ImageShape, options: dict[str, int]
) -> None:
    torch.manual_seed(0)
    model = build(name, shape, 7, options).eval()
    images = torch.rand(3, *shape.chw)
    activations, logits = model.activations(images)
    features = model.features(images)
    assert logits.shape == (3, 7)
    assert torch.equal(logits, model(images))
    assert torch.equal(logits, model.head(features))
    assert torch.equal(activations[:, -model.head.in_features :], features)
    assert activations.shape[1] > features.shape[1]


def test_taps_are_the_mean_and_the_maximum_of_each_channel() -> None:
    model = build("small_cnn", MNIST, 2, {"width": 3}).eval()
    images = torch.rand(2, 1, 28, 28)
    first = model.features[:3](images)
    seen = model.activations(images)[0]
    assert torch.allclose(seen[:, :3], first.mean((2, 3)))
    assert torch.allclose(seen[:, 3:6], first.amax((2, 3)))


def test_resnet18_is_the_published_size() -> None:
    parameters = sum(p.numel() for p in build("resnet18", CIFAR, 10, {}).parameters())
    assert parameters == 11_173_962


def test_a_tap_that_is_no_child_is_refused() -> None:
    with pytest.raises(ValueError, match="layer9"):
        Classifier(nn.Sequential(nn.Flatten()), nn.Linear(1, 2), taps=("layer9",))


def test_users_register_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))

    @register("linear")
    def linear(shape: ImageShape, classes: int) -> Classifier:
        pixels = shape.channels * shape.height * shape.width
        return Classifier(nn.Sequential(nn.Flatten()), nn.Linear(pixels, classes))

    assert "linear" in names()
    model = build("linear", MNIST, 3, {})
    activations, logits = model.activations(torch.rand(2, 1, 28, 28))
    assert (activations.shape, logits.shape) == ((2, 784), (2, 3))
    with pytest.raises(ValueError, match="registered already"):
        register("linear")(linear)


@pytest.mark.parametrize(
    ("name", "classes", "options", "message"),
    [
        ("small_cn", 2, {}, "Did you mean 'small_cnn'"),
        ("small_cnn", 1, {}, "1 classes"),
        ("small_cnn", 2, {"depth": 3}, "cannot be built so"),
        ("small_cnn", 10**9, {}, "classes"),
    ],
)
def test_what_cannot_be_built_says_why(
    name: str, classes: int, options: dict[str, int], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        build(name, MNIST, classes, options)


@pytest.mark.parametrize(
    "sides", [(0, 8, 8), (17, 8, 8), (1, 10**6, 10**6), (1, -1, -1), (1, 1.5, 8), (True, 8, 8)]
)
def test_a_shape_that_is_none_is_refused(sides: tuple[int, int, int]) -> None:
    with pytest.raises(SettingsError, match="no image shape"):
        ImageShape(channels=sides[0], height=sides[1], width=sides[2])
