"""Where a foreign network may be cut and tapped, seen in one forward pass.

Shapes: B batch, C H W an image, c h w the output of a layer, K classes.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from torchkeep.errors import SettingsError

WANTED = "Give a class whose forward pass ends in one nn.Linear, from B x F to the B x K logits."
MOST_TAPS = 3
_ACTIVATIONS = nn.ReLU.__module__


@dataclass(frozen=True, slots=True)
class Call:
    """A layer that was called, and the shape of the tensor it gave."""

    name: str
    layer: nn.Module
    shape: tuple[int, ...]

    @property
    def is_map(self) -> bool:
        """Whether it gave B c h w with more than one place in it: something to tap."""
        return len(self.shape) == 4 and self.shape[2] * self.shape[3] > 1


@torch.no_grad()
def observe(network: nn.Module, images: Tensor) -> list[Call]:
    """Return the layers that give a tensor and are called once for `images`, in that order."""
    calls: list[Call] = []
    with _noting(network, calls):
        network(images)
    count = Counter(call.name for call in calls)
    return [call for call in calls if count[call.name] == 1]


@contextmanager
def _noting(network: nn.Module, calls: list[Call]) -> Iterator[None]:
    def note(name: str, layer: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            calls.append(Call(name, layer, tuple(output.shape)))

    handles = [
        layer.register_forward_hook(partial(note, name))
        for name, layer in network.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def last_linear(calls: Sequence[Call]) -> str:
    """Return the name of the layer to cut before. Raises `SettingsError` if there is none."""
    found = [call.name for call in calls if isinstance(call.layer, nn.Linear)]
    if not found:
        raise SettingsError("the network calls no nn.Linear exactly once", remedy=WANTED)
    return found[-1]


def choose_taps(calls: Sequence[Call]) -> tuple[str, ...]:
    """Return up to three layers to tap: the first, the last and the middle of the early stages.

    A stage is a convolution and what follows up to the next one; its output is that of its last
    activation, or else of the convolution. Early are the first half, but at least three. Taps
    spread like those of our own networks, whose detectors were measured with them.
    """
    stages: list[str] = []
    for call in calls:
        if not call.is_map:
            continue
        if isinstance(call.layer, nn.Conv2d):
            stages.append(call.name)
        elif stages and type(call.layer).__module__ == _ACTIVATIONS:
            stages[-1] = call.name
    early = stages[: max(MOST_TAPS, len(stages) // 2)]
    places = {0, (len(early) - 1) // 2, len(early) - 1}
    return tuple(early[place] for place in sorted(places)) if early else ()


def check_taps(calls: Sequence[Call], taps: Sequence[str]) -> None:
    """Raise `SettingsError` unless each of `taps` can be tapped."""
    possible = [call.name for call in calls if call.is_map]
    for name in taps:
        if name not in possible:
            near = difflib.get_close_matches(name, possible, n=3, cutoff=0.0)
            raise SettingsError(
                f"{name!r} cannot be tapped: no layer of that name is called once and gives "
                "B x c x h x w",
                remedy=f"Name others, such as {', '.join(near)}." if near else "Give --taps none.",
            )
