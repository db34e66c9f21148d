"""One image under attack: asks for it, remembers answers, and stops at the first win or at its end.

Shapes: B images asked together, C H W an image, K classes; pixels are in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from robustness.attacks.perturbation import distances, within
from robustness.black_box.endpoint import BudgetSpentError, Endpoint, Pixels, verdict_of
from torchkeep.client import Item
from torchkeep.errors import SettingsError, TorchkeepError
from torchkeep.schema import Verdict
from torchkeep.threat_model import ThreatModel

Image = NDArray[np.float32]
REMEMBERED = 4096


class FoundError(TorchkeepError):
    """An image within the threat model got a wrong answer: the attack is over."""


@dataclass(kw_only=True)
class Prober:
    """Asks about variants of `image` (1 C H W, of levels of 255) until one wins or `limit` is used.

    `levels` sends uint8, as clients that send PNG do: each pixel moves back towards the original,
    which leaves no ball. An image that was asked already is not asked again.
    """

    endpoint: Endpoint
    image: Image
    label: int
    classes: int
    threat: ThreatModel
    limit: int
    levels: bool = False
    used: int = 0
    won: Item | None = None
    distance: float | None = None
    _known: dict[bytes, Item] = field(default_factory=dict)

    def ask(self, images: Image) -> list[Item]:
        """Return the answers to B C H W images.

        Raises `FoundError` at the first that wins, `BudgetSpentError` at the image's own limit.
        """
        sent = self._sent(np.asarray(images, np.float32))
        keys = [one.tobytes() for one in sent]
        fresh = list({key: at for at, key in enumerate(keys) if key not in self._known}.values())
        allowed = fresh[: min(self.limit - self.used, self.endpoint.left)]
        if allowed:
            self._ask(sent[allowed], [keys[at] for at in allowed])
        if len(allowed) < len(fresh):
            raise BudgetSpentError(f"{self.limit} queries for one image")
        answers = [self._known[key] for key in keys]
        if len(self._known) > REMEMBERED:
            self._known = dict(zip(keys, answers, strict=True))
        return answers

    def _ask(self, sent: Pixels, keys: list[bytes]) -> None:
        before = self.endpoint.used
        try:
            items = self.endpoint.ask(sent)
        finally:
            self.used += self.endpoint.used - before
        for one, key, item in zip(sent, keys, items, strict=True):
            self._known[key] = item
            self._judge(one, item)
        if self.won is not None:
            raise FoundError(f"image answered {self.won.label}")

    def _judge(self, sent: Pixels, item: Item) -> None:
        """Take note of the first win, or of one that raised no suspicion."""
        if not item.ok or item.class_index == self.label:
            return
        pixels = sent.astype(np.float32) / 255 if sent.dtype == np.uint8 else sent
        pair = torch.from_numpy(self.image), torch.from_numpy(np.asarray(pixels)[None])
        better = self.won is None or (accepted(item) and not accepted(self.won))
        if better and bool(within(*pair, self.threat).all()):
            self.won, self.distance = item, float(distances(*pair, self.threat.norm))

    def _sent(self, images: Image) -> Pixels:
        if not self.levels:
            return images
        origin = np.rint(self.image.astype(np.float64) * 255)
        moved = images.astype(np.float64) * 255 - origin
        levels: NDArray[np.uint8] = np.clip(origin + np.trunc(moved), 0, 255).astype(np.uint8)
        return levels

    def probabilities(self, images: Image) -> NDArray[np.float64]:
        """Return B K probabilities; NaN where the endpoint gave no answer (screened out).

        Raises `SettingsError` if it tells no probabilities.
        """
        items = self.ask(images)
        told = [item.probabilities for item in items]
        if any(item.ok and one is None for item, one in zip(items, told, strict=True)):
            raise SettingsError(
                "the endpoint tells only its best class", remedy="Use --attack hopskipjump."
            )
        missing = np.full(self.classes, np.nan)
        return np.stack([missing if one is None else one for one in told])

    def decisions(self, images: Image) -> NDArray[np.float32]:
        """Return B K with a 1 at the answered class; no answer counts as the right class."""
        items = self.ask(images)
        made = [item.class_index if item.class_index is not None else self.label for item in items]
        decided: NDArray[np.float32] = np.eye(self.classes, dtype=np.float32)[made]
        return decided


def accepted(item: Item) -> bool:
    """Whether an answer was given, with no word of suspicion."""
    return item.ok and verdict_of(item) not in (Verdict.SUSPICIOUS, Verdict.FAILED)
