"""What became of a question that was put to the model.

Shapes: N items, K classes (0 if they are not told), C H W an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.refusal import OF_ITEM, Code
from torchkeep.schema import Disclose, ItemStatus, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """N answered items in the order of the request; only what may be told to the caller.

    An item without a prediction has label "", class index -1 and NaN. A verdict is None and the
    two scores are None unless they are disclosed.
    """

    request_id: str
    model: str
    version: str
    statuses: Sequence[ItemStatus]  # N
    labels: Sequence[str]  # N
    class_index: Sequence[int]  # N
    probability: Sequence[float]  # N
    probabilities: NDArray[np.float32]  # N K
    disclose: Disclose
    verdicts: Sequence[Verdict | None]  # N
    score: Sequence[float] | None = None  # N
    p_value: Sequence[float] | None = None  # N
    threshold: float | None = None
    messages: Mapping[int, str] = field(default_factory=dict)
    attribution_method: str = ""
    attributions: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)  # C H W

    def __len__(self) -> int:
        return len(self.statuses)

    @property
    def code(self) -> Code:
        """The code of the whole request."""
        return OF_ITEM[self.statuses[0]] if len(self.statuses) == 1 else Code.OK
