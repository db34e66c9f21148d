"""What the served model says of images, as columns.

Shapes: B images, C H W an image, S heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustness.attacks.perturbation import distances
from robustness.screened_model import ScreenedModel
from torchkeep.threat_model import Norm

BATCH = 250


def observe(
    model: ScreenedModel, images: NDArray[np.uint8] | NDArray[np.float32], labels: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Return what the served model makes of images B C H W whose labels are B.

    predicted int64 B, right bool B, score float32 B, head_p float32 B S, suspicious bool B.
    """
    batches = [
        model.screen(images[start : start + BATCH]) for start in range(0, len(images), BATCH)
    ]
    if not batches:
        return _nothing(len(model.head_names))
    predicted = np.concatenate([batch.probabilities.argmax(1) for batch in batches])
    return {
        "predicted": predicted.astype(np.int64),
        "right": predicted == labels,
        "score": np.concatenate([batch.score for batch in batches]),
        "head_p": np.concatenate([batch.head_p_values for batch in batches]),
        "suspicious": np.concatenate([batch.suspicious for batch in batches]),
    }


def _nothing(heads: int) -> dict[str, NDArray[Any]]:
    return {
        "predicted": np.empty(0, np.int64),
        "right": np.empty(0, np.bool_),
        "score": np.empty(0, np.float32),
        "head_p": np.empty((0, heads), np.float32),
        "suspicious": np.empty(0, np.bool_),
    }


def moved(images: Tensor, others: Tensor) -> dict[str, NDArray[Any]]:
    """Return how far each image was moved, in each norm: float32 B."""
    return {str(norm): distances(images, others, norm).cpu().numpy() for norm in Norm}


def spread(
    columns: Mapping[str, NDArray[Any]], chosen: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Return the columns with a row for every image, zero where it was not `chosen` (B)."""
    whole = {}
    for name, values in columns.items():
        whole[name] = np.zeros((len(chosen), *values.shape[1:]), values.dtype)
        whole[name][chosen] = values
    return whole


def suspicions(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, NDArray[Any]]:
    """Return per image (B) what makes attacks fail though nothing is robust.

    zero_gradient: the margin's gradient is zero; random: two passes differ; softmax: the outputs
    are probabilities, whose loss saturates (Croce et al. 2022, the checks of AutoAttack).
    """
    pixels = images.clone().requires_grad_()
    logits = network(pixels)
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    (gradient,) = torch.autograd.grad((others - own).sum(), pixels)
    with torch.no_grad():
        again = network(images)
    sums_to_one = (logits.sum(1) - 1).abs() < 1e-4
    return {
        "zero_gradient": (gradient.flatten(1) == 0).all(1).cpu().numpy(),
        "random": (logits.detach() != again).any(1).cpu().numpy(),
        "softmax": (sums_to_one & (logits >= 0).all(1)).cpu().numpy(),
    }
