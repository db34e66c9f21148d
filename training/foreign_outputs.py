"""What a foreign network gives must be what a classifier gives; nothing of it is taken on trust.

Shapes: B batch, C H W an image, K classes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from torchkeep.architectures.anatomy import WANTED
from torchkeep.errors import SettingsError

PROBES = 4
TOLERANCE = 1e-4
"""How far outputs may differ that are to be the same, relative to the largest (float32)."""


class Output(StrEnum):
    """What the last step of a network gives."""

    LOGITS = "logits"
    LOG_PROBABILITIES = "log-probabilities"
    PROBABILITIES = "probabilities"


def probe_images(shape: tuple[int, int, int], seed: int) -> Tensor:
    """Return random images with pixels in 0..1: B C H W."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(PROBES, *shape, generator=generator)


@torch.no_grad()
def checked_outputs(network: nn.Module, images: Tensor, classes: int) -> Tensor:
    """Return what `network` gives for `images` (B C H W): B K.

    Raises `SettingsError` if it fails, gives something else, or depends on chance or on the other
    images of a batch.
    """
    outputs = _run(network, images)
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(images):
        given = "x".join(map(str, outputs.shape)) if isinstance(outputs, Tensor) else None
        raise SettingsError(
            f"for {_sides(images)} images the network gives {given or type(outputs).__name__}",
            remedy=WANTED,
        )
    if outputs.shape[1] != classes:
        raise SettingsError(
            f"the network tells {outputs.shape[1]} classes apart, the data have {classes}",
            remedy="Give the data it was trained on, or its arguments with --option key=value.",
        )
    if not outputs.isfinite().all():
        raise SettingsError(
            "the network gives values that are not finite",
            remedy="Look for broken weights, and for --mean and --std that do not fit.",
        )
    if not _alike(outputs, _run(network, images)):
        raise SettingsError(
            "the network gives another output for the same images",
            remedy="Let nothing random happen in its forward pass after eval().",
        )
    if not _alike(outputs[:1], _run(network, images[:1])):
        raise SettingsError(
            "the network gives an image another output than in a batch",
            remedy="Let its forward pass treat each image by itself after eval().",
        )
    return outputs


def check_gradient(network: nn.Module, images: Tensor) -> None:
    """Raise `SettingsError` unless the outputs' gradient by `images` (B C H W) can be had."""
    images = images.clone().requires_grad_()
    try:
        torch.autograd.grad(_run(network, images).sum(), images)
    except RuntimeError as error:
        raise SettingsError(
            f"the network gives no gradient: {' '.join(str(error).split())[:200]}",
            remedy="Fitting detectors needs it: detach nothing, and write a = a + b for a += b.",
        ) from error


def same_outputs(logits: Tensor, outputs: Tensor) -> Output | None:
    """Return as what `outputs` (B K) say the same as `logits` (B K); None if they do not."""
    forms = {
        Output.LOGITS: logits,
        Output.LOG_PROBABILITIES: logits.log_softmax(1),
        Output.PROBABILITIES: logits.softmax(1),
    }
    return next((kind for kind, form in forms.items() if _alike(form, outputs)), None)


def _run(network: nn.Module, images: Tensor) -> Any:
    try:
        return network(images)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise SettingsError(
            f"the network fails on {_sides(images)} images: {type(error).__name__}: {reason}",
            remedy="It must take the data's images: see resize in [data], and --option key=value.",
        ) from error


def _alike(one: Tensor, other: Any) -> bool:
    if not isinstance(other, Tensor) or one.shape != other.shape:
        return False
    return bool((one - other).abs().max() <= TOLERANCE * one.abs().max())


def _sides(images: Tensor) -> str:
    return "x".join(map(str, images.shape))
