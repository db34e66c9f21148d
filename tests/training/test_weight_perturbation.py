"""Weights move up the loss, each in proportion to its size, and come back."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from torchkeep.architectures import Classifier, build
from torchkeep.image_shape import ImageShape
from training.distributed import World, alone
from training.weight_perturbation import perturbed

ALONE = alone(torch.device("cpu"))


def network(seed: int = 0, name: str = "small_cnn", channels: int = 1) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        options = {} if name == "small_cnn" else {"width": 4}
        shape = ImageShape(channels=channels, height=8, width=8)
        return build(name, shape, 10, options)


def batch(channels: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(32, channels, 8, 8, generator=generator)
    return images, torch.randint(10, (32,), generator=generator)


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@settings(deadline=None, max_examples=20, derandomize=True)
@given(seed=st.integers(0, 2**16), size=st.floats(1e-4, 0.5))
def test_weights_move_by_their_share_up_the_loss_and_come_back(seed: int, size: float) -> None:
    model, (images, labels) = network(seed), batch()
    before = values(model)

    def loss() -> Tensor:
        return cross_entropy(model(images), labels)

    calm = loss().item()
    with perturbed(model, loss, size, ALONE):
        inside = values(model)
        assert loss().item() > calm
    for name, weight in model.named_parameters():
        moved = (inside[name] - before[name]).norm()
        expected = size * before[name].norm() if weight.ndim > 1 else torch.zeros(())
        assert torch.allclose(moved, expected, rtol=1e-3)
        assert torch.allclose(weight, before[name], rtol=0, atol=1e-6)


def test_each_weight_moves_along_its_own_gradient() -> None:
    model, (images, labels) = network(), batch()
    before = values(model)
    gradients = torch.autograd.grad(cross_entropy(model(images), labels), list(model.parameters()))
    with perturbed(model, lambda: cross_entropy(model(images), labels), 0.01, ALONE):
        for (name, weight), gradient in zip(model.named_parameters(), gradients, strict=True):
            if weight.ndim > 1:
                move = (weight.detach() - before[name]).flatten()
                cosine = torch.cosine_similarity(move, gradient.flatten(), dim=0)
                assert cosine.item() == pytest.approx(1.0, abs=1e-4)


def test_biases_and_normalisation_layers_stay() -> None:
    model, (images, labels) = network(name="resnet18", channels=3), batch(3)
    before = values(model)
    with perturbed(model, lambda: cross_entropy(model(images), labels), 0.1, ALONE):
        moved = {
            name for name, weight in model.named_parameters() if not weight.equal(before[name])
        }
    layers = (nn.Conv2d, nn.Linear)
    weighty = {
        f"{name}.weight" for name, layer in model.named_modules() if isinstance(layer, layers)
    }
    assert moved == weighty
    assert len(weighty) < len(before)


def test_gradients_are_those_at_the_moved_weights() -> None:
    model, (images, labels) = network(), batch()
    other = copy.deepcopy(model)
    with perturbed(model, lambda: cross_entropy(model(images), labels), 0.1, ALONE):
        other.load_state_dict(model.state_dict())
        cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
    cross_entropy(other(images), labels).backward()  # type: ignore[no-untyped-call]
    calm = torch.autograd.grad(cross_entropy(model(images), labels), list(model.parameters()))
    for ours, theirs, still in zip(model.parameters(), other.parameters(), calm, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)
        assert not torch.allclose(ours.grad, still)


def test_the_move_itself_leaves_no_gradient() -> None:
    model, (images, labels) = network(), batch()
    with perturbed(model, lambda: cross_entropy(model(images), labels), 0.1, ALONE):
        assert all(weight.grad is None for weight in model.parameters())
        assert all(weight.requires_grad for weight in model.parameters())


def test_weights_come_back_from_an_error() -> None:
    model, (images, labels) = network(), batch()
    before = values(model)
    with (
        pytest.raises(KeyError),
        perturbed(model, lambda: cross_entropy(model(images), labels), 0.3, ALONE),
    ):
        raise KeyError
    assert all(torch.allclose(now, before[name]) for name, now in values(model).items())


def test_weights_that_are_not_learnt_stay() -> None:
    model, (images, labels) = network(), batch()
    frozen = model.features.get_submodule("conv1")
    frozen.requires_grad_(False)
    before = values(model)
    with perturbed(model, lambda: cross_entropy(model(images), labels), 0.1, ALONE):
        assert torch.equal(values(model)["features.conv1.weight"], before["features.conv1.weight"])
        assert not torch.equal(values(model)["head.weight"], before["head.weight"])


def test_weights_that_the_loss_does_not_use_stay() -> None:
    model, (images, labels) = network(), batch()
    model.add_module("spare", nn.Linear(3, 2))
    before = values(model)
    with perturbed(model, lambda: cross_entropy(model(images), labels), 0.1, ALONE):
        assert torch.equal(values(model)["spare.weight"], before["spare.weight"])
        assert not torch.equal(values(model)["head.weight"], before["head.weight"])


def test_a_loss_without_a_slope_moves_nothing() -> None:
    model, (images, _) = network(), batch()
    before = values(model)
    with perturbed(model, lambda: 0 * model(images).sum(), 0.1, ALONE):
        assert all(torch.equal(now, before[name]) for name, now in values(model).items())


def test_weights_do_not_drift_over_many_batches() -> None:
    model, (images, labels) = network(), batch()
    before = values(model)
    for _ in range(200):
        with perturbed(model, lambda: cross_entropy(model(images), labels), 0.005, ALONE):
            pass
    for name, now in values(model).items():
        assert torch.allclose(now, before[name], rtol=0, atol=1e-5)


class Outvoted(World):
    """A world in which another process has three times the gradient, the other way round."""

    def mean(self, values: Tensor) -> Tensor:
        return (values - 3 * values) / 2


def test_all_processes_move_along_the_mean_gradient() -> None:
    model, (images, labels) = network(), batch()
    before, moves = values(model), []
    for world in (ALONE, Outvoted(device=torch.device("cpu"))):
        with perturbed(model, lambda: cross_entropy(model(images), labels), 0.1, world):
            moves.append({name: now - before[name] for name, now in values(model).items()})
    for name, move in moves[0].items():
        assert torch.allclose(moves[1][name], -move, atol=1e-6)
