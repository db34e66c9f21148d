"""What the items of one call have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway.question import Question
from gateway.upstream import MIB, ServedVersion
from torchkeep.envelope import BodyPayload
from torchkeep.schema import Operation

CALL_BYTES = 16 * MIB
_SIZE_CLASSES = (64 * 1024, MIB, CALL_BYTES)
"""Encoded images of like size share calls: a photograph does not hold up a thumbnail."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One operation on one kind of payload; no item of it has more than `item_bytes`.

    A whole body, and an image beyond the largest class, travel alone: `item_bytes` is 0.
    """

    operation: Operation
    payload: str  # a dtype, "encoded" or "body"
    item_bytes: int

    @classmethod
    def of(cls, question: Question) -> Kind:
        """Return the kind of a question."""
        payload = question.payload
        if isinstance(payload, np.ndarray):
            return cls(question.operation, payload.dtype.str, int(payload[0].nbytes))
        if isinstance(payload, BodyPayload):
            return cls(question.operation, "body", 0)
        largest = max(map(len, payload))
        size = next((size for size in _SIZE_CLASSES if largest <= size), 0)
        return cls(question.operation, "encoded", size)

    def most(self, served: ServedVersion, max_batch: int) -> int:
        """Return how many items a call to that version may hold."""
        if not self.item_bytes:
            return 1
        most = min(max_batch, served.max_forward_batch, served.max_items)
        if self.operation is Operation.EXPLAIN:
            most = min(most, served.max_explain_items)
        room = min(CALL_BYTES, served.max_bytes // 2)  # the rest is for heads
        return max(1, min(most, room // self.item_bytes))
