"""An attack on many images of an endpoint, within one budget; each image is kept when it is done.

Shapes: N images, C H W an image, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import nn

from robustness.attacks.apgd import APGD
from robustness.black_box.endpoint import BudgetSpentError, Endpoint, verdict_of
from robustness.black_box.prober import FoundError, Prober, accepted
from robustness.black_box.results import ImageResult, Outcome, Results, Spent
from robustness.black_box.searches import check_threat, hop_skip_jump, square
from torchkeep.errors import SettingsError
from torchkeep.progress import Report
from torchkeep.threat_model import ThreatModel

SEARCHES: Final[Mapping[str, Callable[[Prober, int], None]]] = {
    "square": square,
    "hopskipjump": hop_skip_jump,
}
TRANSFER: Final = "transfer"
TRANSFER_STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What is attacked and how; `source` is the network that `transfer` attacks instead."""

    attack: str
    threat: ThreatModel
    images: NDArray[np.uint8]  # N C H W
    labels: NDArray[np.int64]  # N
    classes: int
    seed: int = 0
    levels: bool = False
    source: nn.Module | None = None

    def __post_init__(self) -> None:
        check_threat(self.attack, self.threat)
        if (self.attack == TRANSFER) != (self.source is not None):
            raise SettingsError(
                f"{self.attack} with{'' if self.source else 'out'} a second network",
                remedy="--source ARTIFACT goes with --attack transfer, and only with it.",
            )

    def digest(self, **also: Any) -> str:
        """Return a name of all that decides the results: SHA-256, 16 hex digits."""
        made = hashlib.sha256(self.images.tobytes() + self.labels.tobytes())
        if self.source is not None:
            for name, value in sorted(self.source.state_dict().items()):
                made.update(name.encode() + value.cpu().numpy().tobytes())
        told = also | {
            "attack": self.attack,
            "threat": repr(self.threat),
            "seed": self.seed,
            "levels": self.levels,
        }
        made.update(orjson.dumps(told, option=orjson.OPT_SORT_KEYS))
        return made.hexdigest()[:16]

    def run(self, endpoint: Endpoint, results: Results, report: Report) -> None:
        """Attack every image that has no result, until the budget is spent.

        What is broken off (a dead endpoint, a signal) leaves its queries on record.
        """
        done = {row.index for row in results.images}
        recorded = results.queries
        base = endpoint.used - recorded  # what the endpoint answered before this attack
        todo = [index for index in range(len(self.images)) if index not in done]
        try:
            for place, index in enumerate(todo):
                report("queries", endpoint.used - base, endpoint.budget - base)
                limit = endpoint.left // (len(todo) - place)
                if limit >= 1:
                    results.add(self._attack(endpoint, index, limit))
        finally:
            lost = endpoint.used - base - results.queries
            if lost > 0:
                results.add(Spent(queries=lost))
        report("queries", endpoint.used - base, endpoint.budget - base)

    def _attack(self, endpoint: Endpoint, index: int, limit: int) -> ImageResult:
        image = self.images[index : index + 1].astype(np.float32)
        image /= 255
        label = int(self.labels[index])
        prober = Prober(
            endpoint=endpoint,
            image=image,
            label=label,
            classes=self.classes,
            threat=self.threat,
            limit=limit,
            levels=self.levels,
        )
        try:
            prober.ask(image)
        except FoundError:
            return _result(index, prober, Outcome.ALREADY_WRONG)
        if self.attack == TRANSFER:
            self._transfer(prober)
        else:
            SEARCHES[self.attack](prober, self.seed + index)
        return _result(index, prober, Outcome.FOOLED if prober.won else Outcome.HELD)

    def _transfer(self, prober: Prober) -> None:
        attack = APGD(threat=self.threat, steps=TRANSFER_STEPS, seed=self.seed)
        assert self.source is not None  # noqa: S101  (checked when made)
        made = attack(self.source, torch.from_numpy(prober.image), torch.tensor([prober.label]))
        try:
            prober.ask(made.images.numpy())
        except (FoundError, BudgetSpentError):
            return


def _result(index: int, prober: Prober, outcome: Outcome) -> ImageResult:
    won = prober.won
    return ImageResult(
        index=index,
        label=prober.label,
        outcome=outcome,
        queries=prober.used,
        predicted=won.class_index if won else None,
        verdict=verdict_of(won) if won else None,
        accepted=won is not None and accepted(won),
        distance=prober.distance if won else None,
    )
