"""What an attack asks: the network here within a time, or a server within its own.

Shapes: B batch, C H W an image, K classes.
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torchkeep.client.results import Item
from torchkeep.errors import ServerError, UserError

SECONDS = 60.0
"""How long an attack may go on asking; what is under way at the end is waited for."""
_FAR = 1e9
"""Logit of a class that is out of the question."""


class SlowError(UserError):
    """An attack had to be ended."""


class Endpoint(Protocol):
    """A running server; `url` is where, `same` whether it serves this artifact (None: unknown)."""

    @property
    def url(self) -> str: ...

    @property
    def same(self) -> bool | None: ...

    def predict(self, image: NDArray[np.float32]) -> Item:
        """Ask for one image C H W in 0..1; raises `UserError` if the server does not answer."""


class Timed(nn.Module):
    """A network that is asked for some seconds and then raises `SlowError`."""

    def __init__(self, network: nn.Module, seconds: float) -> None:
        super().__init__()
        self.network = network
        self._seconds, self._end = seconds, time.monotonic() + seconds
        self.eval()  # an attack gives back the mode it finds, to the network as well

    def forward(self, images: Tensor) -> Tensor:
        """Return logits: B C H W to B K."""
        if time.monotonic() > self._end:
            raise SlowError(
                f"the attack took longer than {self._seconds:g} s and was ended",
                remedy="Try another attack, or no defence.",
            )
        logits: Tensor = self.network(images)
        return logits


class Asked(nn.Module):
    """A server as a network without gradients; `label` is what the attack flees from.

    An image to which the server gives no prediction counts as one where the attack is far from
    winning.
    """

    def __init__(self, endpoint: Endpoint, label: int, classes: int) -> None:
        super().__init__()
        self.endpoint, self.label, self.classes = endpoint, label, classes
        self.asked = 0

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return log-probabilities, which differ from logits by a constant: B C H W to B K."""
        return torch.stack([self._row(image) for image in images])

    def _row(self, image: Tensor) -> Tensor:
        self.asked += 1
        item = self.endpoint.predict(image.cpu().numpy())
        if not item.ok:
            row = torch.full((self.classes,), -_FAR)
            row[self.label] = 0
        elif item.probabilities is None or len(item.probabilities) != self.classes:
            raise ServerError(
                f"the server does not tell the probabilities of {self.classes} classes",
                remedy="Square needs them: take another attack.",
            )
        else:
            row = torch.from_numpy(item.probabilities.astype(np.float32)).clamp_min(1e-30).log()
        return row.to(image)
