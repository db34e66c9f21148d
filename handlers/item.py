"""One item on its way from bytes to an answer; every stage adds what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from handlers.bodies import Body
from handlers.pixels import Image
from torchkeep.envelope import Origin
from torchkeep.schema import InputDataSummary, ItemStatus, RequestType, Verdict


class Judgement(NamedTuple):
    """What model and detectors say of one item.

    `labels` and `ranked` are the most probable classes and their probabilities, best first.
    """

    verdict: Verdict
    class_index: int
    probability: float
    probabilities: NDArray[np.float32]  # K
    labels: Sequence[str]
    ranked: NDArray[np.float32]
    score: float
    p_value: float
    head_p_values: Sequence[float]
    embedding: str  # as logged
    batch_size: int


@dataclass(slots=True)
class Item:
    """`position` counts in the body that came here, `index` in the request of its caller."""

    origin: Origin
    index: int
    body: Body
    position: int
    request_type: RequestType
    status: ItemStatus = ItemStatus.OK
    message: str = ""
    image: Image | None = None
    summary: InputDataSummary | None = None
    judgement: Judgement | None = None
    attribution: NDArray[np.float32] | None = None  # C H W

    def fail(self, status: ItemStatus, message: str) -> None:
        """Say that this item is not answered, and why."""
        self.status = status
        self.message = message
