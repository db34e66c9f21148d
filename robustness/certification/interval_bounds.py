"""Interval bound propagation: what each layer can give for all inputs of an Linf ball.

Sound, not tight (Gowal et al. 2018, section 3). Shapes: B batch, C H W an image, K classes. A box
is a pair of tensors, its centre and its radius (0 or more), of one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from torchkeep.architectures import Classifier, Normalise
from torchkeep.errors import SettingsError

Box = tuple[Tensor, Tensor]


def propagate(layer: nn.Module, box: Box) -> Box:
    """Return a box that holds the layer's output for every input in `box`.

    Raises `SettingsError` for a layer whose forward pass has no rule here.
    """
    rule = _RULES.get(type(layer).forward)
    if rule is None:
        raise SettingsError(
            f"interval bounds know no rule for {type(layer).__name__}",
            remedy="Use a network of linear, convolution, ReLU and flatten layers: small_cnn.",
        )
    return rule(layer, box)


def _sequential(layer: nn.Sequential, box: Box) -> Box:
    for child in layer:
        box = propagate(child, box)
    return box


def _linear(layer: nn.Linear, box: Box) -> Box:
    centre, radius = box
    return layer(centre), F.linear(radius, layer.weight.abs())


def _conv2d(layer: nn.Conv2d, box: Box) -> Box:
    centre, radius = box
    if layer.padding_mode != "zeros":
        raise SettingsError(f"interval bounds know no padding {layer.padding_mode!r}")
    spread = F.conv2d(
        radius,
        layer.weight.abs(),
        None,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
    )
    return layer(centre), spread


def _relu(layer: nn.ReLU, box: Box) -> Box:
    centre, radius = box
    lower, upper = (centre - radius).relu(), (centre + radius).relu()
    return (lower + upper) / 2, (upper - lower) / 2


def _flatten(layer: nn.Flatten, box: Box) -> Box:
    return layer(box[0]), layer(box[1])


def _normalise(layer: Normalise, box: Box) -> Box:
    centre, radius = box
    return layer(centre), radius / layer.std


_RULES: Mapping[Callable[..., object], Callable[[Any, Box], Box]] = {
    nn.Sequential.forward: _sequential,
    nn.Linear.forward: _linear,
    nn.Conv2d.forward: _conv2d,
    nn.ReLU.forward: _relu,
    nn.Flatten.forward: _flatten,
    Normalise.forward: _normalise,
}
"""By forward pass, not by type: a subclass may have one of its own, a residual one say."""


def image_box(images: Tensor, eps: float) -> Box:
    """Return the box of images (B C H W in 0..1) within Linf `eps` and within valid pixels."""
    lower, upper = (images - eps).clamp_min(0), (images + eps).clamp_max(1)
    return (lower + upper) / 2, (upper - lower) / 2


def worst_logits(model: Classifier, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Return logits (B K) shifted so that the label's is 0 and each other is an upper bound.

    A bound is that of the difference to the label's logit, taken through the last layer at once
    (Gowal et al. 2018, appendix: elision of the last layer).
    """
    centre, radius = propagate(model.features, image_box(images, eps))
    weight, bias = model.head.weight, model.head.bias
    difference = weight[None] - weight[labels][:, None]  # B K F
    upper = torch.einsum("bkf,bf->bk", difference, centre)
    upper = upper + torch.einsum("bkf,bf->bk", difference.abs(), radius)
    if bias is not None:
        upper = upper + bias[None] - bias[labels][:, None]
    return upper


def certified(model: Classifier, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Return for which images (B) no point of the Linf ball can change the answer `labels`.

    Sound but for the rounding of float32.
    """
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 rounds at 1e-3
        upper = worst_logits(model, images, labels, eps)
    others = F.one_hot(labels, upper.shape[1]) == 0
    return (upper < 0).logical_or(~others).all(1)
