"""The endpoint as an attacker sees it: images go in, answers come out, and each one is counted.

Shapes: B images asked together, C H W an image, K classes.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from torchkeep.client import Client, Item
from torchkeep.client.failures import is_throttle
from torchkeep.errors import RequestError, ServerError, SettingsError, TorchkeepError
from torchkeep.schema import ItemStatus

BYTES_PER_CALL = 4 * 2**20
"""Below what TorchServe takes by default (6.5 MB)."""
TRIES = 5
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 60.0
"""However long a server asks to be left alone."""
NOT_TOLD = "not told"
_UNFIT = (ItemStatus.BAD_INPUT, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE)

Pixels = NDArray[np.float32] | NDArray[np.uint8]


class BudgetSpentError(TorchkeepError):
    """The queries are used up; what was found till then is the result."""


@dataclass(kw_only=True)
class Endpoint:
    """A served model that answers at most `budget` more images; counts what it met.

    `batch` bounds the images of one call, `BYTES_PER_CALL` their bytes. A throttled or lost call
    is sent again after a wait that doubles, with jitter from `seed`, and that is no shorter than
    the server asks for, up to `LONGEST_WAIT_S`; only answered images count.
    """

    client: Client
    budget: int
    batch: int = 64
    seed: int = 0
    sleep: Callable[[float], None] = time.sleep
    used: int = 0
    throttles: int = 0
    refusals: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.budget < 0 or self.batch < 1:
            raise SettingsError(
                f"{self.budget} queries, {self.batch} a call", remedy="Give 1 or more of each."
            )
        self._jitter = random.Random(self.seed)  # noqa: S311  (waits, no secret)

    @property
    def left(self) -> int:
        """Images that may still be asked."""
        return self.budget - self.used

    def ask(self, images: Pixels) -> list[Item]:
        """Return the answers to B C H W images, in their order.

        Raises `BudgetSpentError`, asking none of them, if there are more than are left;
        `ServerError` or `RequestError` if the endpoint does not answer.
        """
        if len(images) > self.left:
            raise BudgetSpentError(f"{len(images)} images asked, {self.left} left")
        items: list[Item] = []
        size = max(1, min(self.batch, BYTES_PER_CALL // max(1, images[:1].nbytes)))
        for start in range(0, len(images), size):
            items += self._call(images[start : start + size])
        return items

    def _call(self, images: Pixels) -> list[Item]:
        items = list(self._patiently(images))
        self.used += len(items)
        for item in items:
            self.statuses[str(item.status)] += 1
            self.verdicts[verdict_of(item)] += 1
            if item.status in _UNFIT:
                raise SettingsError(
                    f"the endpoint does not take these images: {item.error}",
                    remedy="Is --data what the model was trained on?",
                )
        return items

    def _patiently(self, images: Pixels) -> tuple[Item, ...]:
        for attempt in range(TRIES):
            try:
                return self.client.predict(images).items
            except (ServerError, RequestError) as error:
                throttled = is_throttle(error)
                self.throttles += throttled
                if isinstance(error, RequestError) and not throttled:
                    self.refusals += 1
                    raise
                if attempt == TRIES - 1:
                    raise
                asked_for = min(error.retry_after_s or 0.0, LONGEST_WAIT_S)
            usual = FIRST_WAIT_S * 2**attempt * self._jitter.uniform(0.5, 1.5)
            self.sleep(max(usual, asked_for))
        raise AssertionError("the last try returns or raises")


def verdict_of(item: Item) -> str:
    """Return what screening said of an item, or that the endpoint does not tell."""
    return str(item.screening.verdict) if item.screening else NOT_TOLD
