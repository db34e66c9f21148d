"""A foreign network as a `Classifier`: cut before its last layer, its taps found by name.

The foreign class is constructed and called as it is. Its last `nn.Linear` becomes the head; what
reached that layer are the features, and what the network does after it is left out.

Shapes: B batch, C H W an image, c h w a tapped output, F penultimate features, K classes, A
activations seen by detectors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from torchkeep.architectures.classifier import Classifier, Normalise, pool
from torchkeep.architectures.foreign import construct
from torchkeep.image_shape import ImageShape


class LastLayer(nn.Module):
    """Takes the last layer's place: keeps what reaches it (B F) and passes zeros on (B K)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.reached: Tensor | None = None

    def forward(self, hidden: Tensor) -> Tensor:
        self.reached = hidden
        return hidden.new_zeros(*hidden.shape[:-1], self.outputs)

    def take(self) -> Tensor:
        """Return what reached it, once."""
        reached, self.reached = self.reached, None
        if reached is None:
            raise RuntimeError("the forward pass did not come to its last layer")
        return reached


class Body(nn.Module):
    """Normalisation, then a foreign network up to its last layer: B C H W to B F.

    Not for threads that share it.
    """

    def __init__(
        self,
        normalise: nn.Module,
        network: nn.Module,
        head: str,
        outputs: int,
        taps: Sequence[str],
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.end = LastLayer(outputs)
        network.set_submodule(head, self.end)
        self.network = network
        self.taps = tuple(taps)
        self._pooled: dict[str, tuple[Tensor, Tensor]] | None = None
        for name in taps:
            network.get_submodule(name).register_forward_hook(partial(self._pool, name))

    def forward(self, images: Tensor) -> Tensor:
        self.network(self.normalise(images))
        return self.end.take()

    def forward_with_taps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the mean and maximum per channel of each tap (B c each), and the features."""
        pooled = self._pooled = {}
        try:
            features = self(images)
        finally:
            self._pooled = None
        return [part for name in self.taps for part in pooled[name]], features

    def _pool(self, name: str, _layer: nn.Module, _inputs: object, output: Tensor) -> None:
        """Pool an output (B c h w) at once, for a layer that follows may change it in place."""
        if self._pooled is not None and name not in self._pooled:
            if output.requires_grad:
                output = output.clone()  # the gradient of a maximum looks at it once more
            self._pooled[name] = pool(output)


class ImportedClassifier(Classifier):
    """A foreign network's body as `features`, its last layer as `head`, taps inside the body."""

    def __init__(self, body: Body, head: nn.Linear) -> None:
        super().__init__(nn.Sequential(OrderedDict(body=body)), head)

    def _seen(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        body: Body = self.features[0]  # type: ignore[assignment]  # nn.Sequential forgets
        return body.forward_with_taps(images)


def wrap(
    network: nn.Module,
    *,
    head: str,
    taps: Sequence[str] = (),
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> ImportedClassifier:
    """Cut `network` before the layer named `head`; it must not be used by itself any more.

    Raises `ValueError` if that is no `nn.Linear`, `AttributeError` if there is no such layer or
    tap.
    """
    layer = network.get_submodule(head)
    if not isinstance(layer, nn.Linear):
        raise ValueError(f"{head!r} is no nn.Linear")
    normalise = Normalise(mean, std) if mean else nn.Identity()
    return ImportedClassifier(Body(normalise, network, head, layer.out_features, taps), layer)


def imported(
    name: str,
    shape: ImageShape,
    classes: int,
    *,
    arguments: Mapping[str, Any],
    head: str,
    taps: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
) -> Classifier:
    """Build the classifier around a foreign class, as the options of an artifact describe it.

    Raises `SettingsError` if it may not or cannot be made, `ValueError` if it does not fit.
    """
    if not isinstance(arguments, dict):
        raise TypeError("the arguments of a class are a table")
    if not len(mean) == len(std) in (0, shape.channels) or not all(each > 0 for each in std):
        raise ValueError(f"mean {mean} and std {std} for {shape.channels} channels")
    network = construct(name, arguments).float()
    try:
        classifier = wrap(network, head=head, taps=taps, mean=mean, std=std)
    except AttributeError as error:
        raise ValueError(str(error)) from error
    if classifier.head.out_features != classes:
        raise ValueError(f"{classifier.head.out_features} outputs for {classes} classes")
    return classifier
