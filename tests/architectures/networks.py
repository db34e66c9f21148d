"""Networks as others write them, good ones and bad ones."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn


class LogSoftmax(nn.Module):
    """The network of PyTorch's MNIST example, smaller: functions between layers, a log-softmax."""

    def __init__(self, classes: int = 10, hidden: int = 32, side: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(16 * (side // 2) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.conv2(F.relu(self.conv1(images))))
        hidden = self.dropout(torch.flatten(F.max_pool2d(hidden, 2), 1))
        return F.log_softmax(self.fc2(F.relu(self.fc1(hidden))), dim=1)


class FeaturesAndHead(nn.Module):
    """What Torchkeep's own networks look like."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(4 * 6 * 6, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Residual(nn.Module):
    """A residual network that changes what it has in place and uses one ReLU three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.stem(images))
        hidden = hidden + self.relu(self.conv1(hidden))
        hidden = hidden + self.relu(self.conv2(hidden))
        return self.fc(hidden.mean((2, 3)))


class Probabilities(nn.Sequential):
    """A plain sequence that ends in a softmax."""

    def __init__(self) -> None:
        layers = (nn.Conv2d(3, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 5), nn.Softmax(1))
        super().__init__(*layers)


class Patches(nn.Module):
    """A transformer: its only map of places is that of the patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.block(self.patch(images).flatten(2).transpose(1, 2)).mean(1))


def deep(depth: int) -> nn.Module:
    """Return convolutions, each with a ReLU: a function that makes a network."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(depth):
        layers[f"conv{number}"] = nn.Conv2d(3, 3, 3, padding=1)
        layers[f"relu{number}"] = nn.ReLU()
    return nn.Sequential(OrderedDict(layers, flat=nn.Flatten(), last=nn.Linear(192, 5)))


GOOD = (LogSoftmax, FeaturesAndHead, Residual, Probabilities, Patches)


class Scaled(FeaturesAndHead):
    """What comes of its last layer is not its output."""

    def forward(self, images: Tensor) -> Tensor:
        return 2 * super().forward(images)


class NoLinear(nn.Module):
    """Ends in a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).mean((2, 3))


class Chance(FeaturesAndHead):
    """Drops values after eval(), too."""

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.dropout(self.features(images), 0.5, training=True))


class Neighbours(FeaturesAndHead):
    """Looks at the other images of the batch."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images - images.mean(0))


class Squeezed(FeaturesAndHead):
    """Loses the batch of a single image."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).squeeze(0)


class Pair(FeaturesAndHead):
    """Gives two things."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(images), images


class Broken(FeaturesAndHead):
    """Fails when it is called."""

    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("no\nsuch thing")


class NotFinite(FeaturesAndHead):
    """Divides by nothing."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images / 0)


class NoGradient(FeaturesAndHead):
    """Changes in place what its gradient needs."""

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.features(images).sigmoid()
        hidden += 1
        return self.head(hidden)


class Forgetful(FeaturesAndHead):
    """Draws a direction that its weights do not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("direction", torch.randn(1, 3, 8, 8), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images * self.direction)


class Lazy(nn.Sequential):
    """Finds its sizes out when it is first called."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.LazyLinear(5))


class ExtraState(FeaturesAndHead):
    """Keeps a text in its state."""

    def get_extra_state(self) -> str:
        return "text"

    def set_extra_state(self, state: str) -> None:
        """Take no notice."""


class Tied(nn.Module):
    """Holds one tensor under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(192, 5, bias=False)
        self.second = nn.Linear(192, 5, bias=False)
        self.second.weight = self.first.weight
        self.last = nn.Linear(5, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.last((self.first(images.flatten(1)) + self.second(images.flatten(1))).relu())


class NotANetwork:
    """Has nothing to do with it."""


def makes_none() -> NotANetwork:
    """Return what is no network."""
    return NotANetwork()


class Demanding(FeaturesAndHead):
    """Cannot be made without being told how deep."""

    def __init__(self, depth: int) -> None:
        raise ValueError(f"a depth of\n{depth}")
