"""From shares of many questions to the one envelope of a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.plane.pending import Share
from gateway.question import Payload
from torchkeep import envelope
from torchkeep.schema import Operation


def request_envelope(
    operation: Operation, shares: Sequence[Share], attempt: int
) -> envelope.RequestEnvelope:
    """Return the envelope of some shares, whose payloads are of one kind."""
    counts = [share.count for share in shares]
    return envelope.RequestEnvelope(
        operation=operation,
        origins=[_origin(share, attempt) for share in shares],
        origin_index=np.repeat(np.arange(len(shares), dtype=np.uint32), counts),
        item_index=_item_index(shares, sum(counts)),
        payload=_payload(shares),
    )


def probe_envelope(image: tuple[int, int, int], request_id: str) -> envelope.RequestEnvelope:
    """Return the envelope of one black image, which the handler predicts but does not log."""
    return envelope.RequestEnvelope(
        operation=Operation.PROBE,
        origins=[envelope.Origin(request_id=request_id, items=1)],
        origin_index=np.zeros(1, dtype=np.uint32),
        item_index=np.zeros(1, dtype=np.uint32),
        payload=np.zeros((1, *image), dtype=np.uint8),
    )


def _origin(share: Share, attempt: int) -> envelope.Origin:
    question = share.pending.question
    arrival = question.arrival
    return envelope.Origin(
        request_id=arrival.request_id,
        items=share.pending.items,
        correlation_id=arrival.correlation_id,
        client=question.principal.client,
        session_id=question.session_id,
        segments=question.segments,
        deadline_ns=int(question.deadline * 1e9),
        attempt=attempt,
        traceparent=arrival.trace.header() if arrival.trace else "",
    )


def _item_index(shares: Sequence[Share], items: int) -> NDArray[np.uint32]:
    if items == len(shares):  # the usual call: single images
        return np.fromiter((share.start for share in shares), dtype=np.uint32, count=items)
    ranges = [np.arange(s.start, s.start + s.count, dtype=np.uint32) for s in shares]
    return np.concatenate(ranges)


def _payload(shares: Sequence[Share]) -> Any:
    first = shares[0].pending.question.payload
    if isinstance(first, envelope.BodyPayload):
        return first
    parts = [_part(share.pending.question.payload, share) for share in shares]
    if isinstance(first, np.ndarray):
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    return [blob for part in parts for blob in part]


def _part(payload: Payload, share: Share) -> Any:
    if isinstance(payload, envelope.BodyPayload):
        raise TypeError("a body shares its call with nothing")
    if share.count == share.pending.items:
        return payload
    return payload[share.start : share.start + share.count]
