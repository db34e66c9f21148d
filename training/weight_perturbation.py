"""Adversarial weight perturbation (Wu, Xia, Wang 2020, equations 8 and 10).

Before a batch is learnt, the weights move a little up its loss, each layer in proportion to its
size; the gradients are those at the moved weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from training.distributed import World

_TINY = 1e-20


@contextmanager
def perturbed(
    model: nn.Module, loss: Callable[[], Tensor], size: float, world: World
) -> Iterator[None]:
    """Move the weights of `model` up `loss` by `size` of their length for the block.

    Biases and normalisation layers stay, as in the authors' code. All processes move alike. Batch
    statistics learn from the extra pass, too, where the authors' go to a copy of the network.
    """
    weights: list[Tensor] = [
        weight for weight in model.parameters() if weight.ndim > 1 and weight.requires_grad
    ]
    gradients = torch.autograd.grad(loss(), weights, materialize_grads=True)  # 0 where unused
    moves = [
        size * weight.detach().norm() / (gradient.norm() + _TINY) * gradient
        for weight, gradient in zip(weights, map(world.mean, gradients), strict=True)
    ]
    kept = [weight.detach().clone() for weight in weights]
    _set(weights, [weight + move for weight, move in zip(kept, moves, strict=True)])
    try:
        yield
    finally:
        _set(weights, kept)


@torch.no_grad()
def _set(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)
