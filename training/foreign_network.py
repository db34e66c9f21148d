"""A network of another's making, with its weights, proved to say as a classifier what it said.

It is cut before its last layer, then built anew as a serving worker builds it: from the options in
the manifest and the state alone. Both steps are held against the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchkeep.architectures import Classifier, Normalise, build
from torchkeep.architectures.anatomy import WANTED, check_taps, choose_taps, last_linear, observe
from torchkeep.architectures.foreign import construct
from torchkeep.architectures.imported import wrap
from torchkeep.errors import SettingsError
from torchkeep.image_shape import ImageShape
from training.foreign_outputs import (
    Output,
    check_gradient,
    checked_outputs,
    probe_images,
    same_outputs,
)
from training.foreign_weights import load_weights, read_weights
from training.import_config import ImportConfig


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A foreign network as a classifier, and the options that build it anew."""

    classifier: Classifier
    options: Mapping[str, Any]
    output: Output


def wrapped_network(
    weights: Path, config: ImportConfig, shape: ImageShape, classes: int
) -> Wrapped:
    """Return the network of `config` with `weights` as a classifier, proved to say the same.

    Raises `SettingsError` or `ArtifactError` if it does not, or cannot be made.
    """
    tensors = read_weights(weights)
    network = construct(config.model, config.arguments).float().eval()
    load_weights(network, tensors, weights)
    mean, std = (_per_channel(each, shape.channels) for each in (config.mean, config.std))
    images = probe_images(shape.chw, config.seed)
    normalised = Normalise(mean, std)(images) if mean else images
    outputs = checked_outputs(network, normalised, classes)
    head, taps = _where_to_cut(network, normalised, config)
    cuts: dict[str, Any] = {"head": head, "taps": list(taps), "mean": mean, "std": std}
    options = {"arguments": dict(config.arguments), **cuts}
    cut = wrap(network, **cuts).eval()
    output = _proved(cut, images, outputs)
    rebuilt = build(config.model, shape, classes, options).eval()
    _prove_same(rebuilt, cut, images)
    check_gradient(rebuilt, images)
    return Wrapped(rebuilt, options, output)


def _where_to_cut(
    network: nn.Module, images: Tensor, config: ImportConfig
) -> tuple[str, tuple[str, ...]]:
    """Return the names of the last layer and of the taps."""
    calls = observe(network, images)
    taps = choose_taps(calls) if config.taps is None else config.taps
    check_taps(calls, taps)
    return last_linear(calls), taps


@torch.no_grad()
def _proved(classifier: Classifier, images: Tensor, outputs: Tensor) -> Output:
    """Return what the original's outputs (B K) are. Raises `SettingsError` if they are others."""
    activations, logits = classifier.activations(images)
    output = same_outputs(logits, outputs)
    if output is None:
        raise SettingsError(
            "what the network gives does not come straight from its last nn.Linear", remedy=WANTED
        )
    if not activations.isfinite().all():
        raise SettingsError("some activations are not finite", remedy="Name other --taps.")
    return output


@torch.no_grad()
def _prove_same(rebuilt: Classifier, classifier: Classifier, images: Tensor) -> None:
    """Give `rebuilt` the weights of `classifier`. Raises `SettingsError` unless it is the same."""
    try:
        rebuilt.load_state_dict(classifier.state_dict())
        same = same_outputs(rebuilt(images), classifier(images)) is Output.LOGITS
    except RuntimeError:
        same = False
    if not same:
        raise SettingsError(
            "constructed a second time, the network gives another output for the same weights",
            remedy="Let its constructor leave nothing to chance that its weights do not hold.",
        )


def _per_channel(values: tuple[float, ...], channels: int) -> list[float]:
    if len(values) not in (0, 1, channels):
        raise SettingsError(
            f"{len(values)} numbers for {channels} channels", remedy="Give one, or one a channel."
        )
    return list(values) * channels if len(values) == 1 else list(values)
