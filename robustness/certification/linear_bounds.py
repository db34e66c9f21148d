"""Linear bounds (CROWN): what no point of an Linf ball can make of the logits.

Each ReLU is held between two lines, and the lines are carried back to the pixels (Zhang et al.
2018, section 3; the slope of the lower line is adaptive). Bounds of hidden layers are found the
same way, and are never looser than interval bounds. Sound but for the rounding of float32, for
which `SLACK` is kept. Shapes: B batch, C H W an image, K classes, R rows: bounds sought at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from robustness.certification import interval_bounds
from robustness.certification.interval_bounds import Box, image_box, propagate
from torchkeep.architectures import Classifier, Normalise
from torchkeep.errors import SettingsError

SLACK = 1e-4
"""A margin must be larger than this share of the image's largest logit."""
PART = 20
"""Images at a time; few, because a hidden value is bounded if any of them leaves it undecided."""
ROWS = 512
"""Bounds of a hidden layer that are sought at once: memory is B · ROWS · the widest layer."""


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lower bounds: `slopes` (B R, then the shape of a layer's output) and `offsets` (B R)."""

    slopes: Tensor
    offsets: Tensor


def certified(model: Classifier, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Return for which images (B) no point of the Linf ball can change the answer `labels`.

    The dear bounds are sought only where the cheap ones fail: interval bounds, then lines over
    interval bounds of the hidden layers (Zhang et al. 2020, CROWN-IBP), then lines throughout.
    Raises `SettingsError` for a layer without a rule.
    """
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        proved = interval_bounds.certified(model, images, labels, eps)
        for tighten in (False, True):
            left = torch.nonzero(~proved).flatten()
            for part in torch.split(left, PART):
                proved[part] = _proved(model, images[part], labels[part], eps, tighten)
    return proved


def _proved(model: Classifier, images: Tensor, labels: Tensor, eps: float, tighten: bool) -> Tensor:
    lowest = margins(model, images, labels, eps, tighten=tighten)
    scale = model(images).abs().amax(1).clamp_min(1)
    others = F.one_hot(labels, lowest.shape[1]) == 0
    proved: Tensor = (lowest > SLACK * scale[:, None]).logical_or(~others).all(1)
    return proved


@torch.no_grad()
def margins(
    model: Classifier, images: Tensor, labels: Tensor, eps: float, *, tighten: bool = True
) -> Tensor:
    """Return lower bounds of the label's logit less each logit (B K) over the Linf ball.

    Without `tighten` hidden layers are bounded by intervals alone.
    """
    layers = list(_flat(model.features))
    inputs = image_box(images, eps)
    boxes = _hidden_boxes(layers, inputs, tighten)
    weight, bias = model.head.weight, model.head.bias
    slopes = weight[labels][:, None] - weight[None]  # B K F
    offsets = slopes.new_zeros(slopes.shape[:2])
    if bias is not None:
        offsets = bias[labels][:, None] - bias[None]
    return _lowest(layers, boxes, inputs, _Lines(slopes, offsets))


def _flat(layer: nn.Module) -> Iterator[nn.Module]:
    if isinstance(layer, nn.Sequential) and type(layer).forward is nn.Sequential.forward:
        for child in layer:
            yield from _flat(child)
    else:
        yield layer


def _hidden_boxes(layers: list[nn.Module], inputs: Box, tighten: bool) -> list[Box]:
    """Return the box that goes into each layer; before a ReLU the tighter of both kinds."""
    boxes: list[Box] = []
    box = inputs
    for place, layer in enumerate(layers):
        if tighten and isinstance(layer, nn.ReLU) and place > 0:
            box = _tightened(layers[:place], boxes, inputs, box)
        boxes.append(box)
        box = propagate(layer, box)
    return boxes


def _tightened(layers: list[nn.Module], boxes: list[Box], inputs: Box, box: Box) -> Box:
    """Return the bounds of what goes into a ReLU, by lines where those are tighter."""
    if not any(isinstance(layer, nn.ReLU) for layer in layers):
        return box  # before the first ReLU everything is linear, and intervals are exact
    centre, radius = box
    shape = centre.shape[1:]
    lower, upper = (centre - radius).flatten(1), (centre + radius).flatten(1)
    width = lower.shape[1]
    undecided = torch.nonzero(((lower < 0) & (upper > 0)).any(0)).flatten()
    for rows in torch.split(undecided, ROWS):
        one = F.one_hot(rows, width).to(centre).view(1, len(rows), *shape)
        one = one.expand(len(centre), *one.shape[1:])
        nothing = one.new_zeros(one.shape[:2])
        low = _lowest(layers, boxes, inputs, _Lines(one, nothing))
        high = -_lowest(layers, boxes, inputs, _Lines(-one, nothing))
        lower[:, rows] = torch.maximum(lower[:, rows], low)
        upper[:, rows] = torch.minimum(upper[:, rows], high)
    upper = torch.maximum(lower, upper)  # but for rounding it is
    return ((lower + upper) / 2).view_as(centre), ((upper - lower) / 2).view_as(centre)


def _lowest(layers: list[nn.Module], boxes: list[Box], inputs: Box, lines: _Lines) -> Tensor:
    """Carry lines from the output of `layers` back to the pixels; return their least values."""
    for layer, box in zip(reversed(layers), reversed(boxes[: len(layers)]), strict=True):
        rule = _RULES.get(type(layer).forward)
        if rule is None:
            raise SettingsError(
                f"linear bounds know no rule for {type(layer).__name__}",
                remedy="Use --method smoothing.",
            )
        lines = rule(layer, box, lines)
    centre, radius = (part.flatten(1)[:, None] for part in inputs)
    slopes = lines.slopes.flatten(2)
    least: Tensor = (slopes * centre - slopes.abs() * radius).sum(2) + lines.offsets
    return least


def _linear(layer: nn.Linear, box: Box, lines: _Lines) -> _Lines:
    offsets = lines.offsets
    if layer.bias is not None:
        offsets = offsets + lines.slopes @ layer.bias
    return _Lines(lines.slopes @ layer.weight, offsets)


def _conv2d(layer: nn.Conv2d, box: Box, lines: _Lines) -> _Lines:
    batch, rows = lines.slopes.shape[:2]
    offsets = lines.offsets
    if layer.bias is not None:
        offsets = offsets + lines.slopes.sum((3, 4)) @ layer.bias
    left, right, top, bottom = layer._reversed_padding_repeated_twice  # also of "same", "valid"
    channels, height, width = box[0].shape[1:]
    back = conv2d_input(  # type: ignore[no-untyped-call]
        (batch * rows, channels, height + top + bottom, width + left + right),
        layer.weight,
        lines.slopes.flatten(0, 1),
        layer.stride,
        0,
        layer.dilation,
        layer.groups,
    )
    back = back[..., top : top + height, left : left + width]
    return _Lines(back.reshape(batch, rows, channels, height, width), offsets)


def _relu(layer: nn.ReLU, box: Box, lines: _Lines) -> _Lines:
    centre, radius = (part[:, None] for part in box)
    lower, upper = centre - radius, centre + radius
    rise = upper.clamp_min(0) / (upper.clamp_min(0) - lower.clamp_max(0)).clamp_min(1e-30)
    keep = (upper > -lower).to(rise)  # of the two lower lines the one that leaves less room
    keep = torch.where(lower >= 0, 1.0, torch.where(upper <= 0, 0.0, keep))
    above, below = lines.slopes.clamp_max(0), lines.slopes.clamp_min(0)
    offsets = lines.offsets - (above * rise * lower.clamp_max(0)).flatten(2).sum(2)
    return _Lines(above * rise + below * keep, offsets)


def _flatten(layer: nn.Flatten, box: Box, lines: _Lines) -> _Lines:
    shape = (*lines.slopes.shape[:2], *box[0].shape[1:])
    return _Lines(lines.slopes.view(shape), lines.offsets)


def _normalise(layer: Normalise, box: Box, lines: _Lines) -> _Lines:
    slopes = lines.slopes / layer.std
    return _Lines(slopes, lines.offsets - (slopes * layer.mean).flatten(2).sum(2))


_RULES: Mapping[Callable[..., object], Callable[[Any, Box, _Lines], _Lines]] = {
    nn.Linear.forward: _linear,
    nn.Conv2d.forward: _conv2d,
    nn.ReLU.forward: _relu,
    nn.Flatten.forward: _flatten,
    Normalise.forward: _normalise,
}
