"""How a refusal is told over gRPC: its code, its message, and when to come back.

Source: google/rpc/error_details.proto; gRPC's statuscodes.md.
"""

from __future__ import annotations

import math

from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from gateway.refusal import Refusal

DETAILS = "grpc-status-details-bin"
RETRY_AFTER = "retry-after"
LONGEST_MESSAGE = 1_000

Trailers = tuple[tuple[str, str | bytes], ...]


def message_of(refusal: Refusal) -> str:
    """Return the message, short enough for a header and of one line."""
    return " ".join(refusal.message[:LONGEST_MESSAGE].split())


def retry_trailers(refusal: Refusal) -> Trailers:
    """Return what says when to try again: a `RetryInfo`, and whole seconds for those without."""
    if refusal.retry_after_s is None:
        return ()
    told = RetryInfo()
    told.retry_delay.FromNanoseconds(math.ceil(refusal.retry_after_s * 1e9))
    detail = Any()
    detail.Pack(told)
    number: int = refusal.code.grpc.value[0]
    status = Status(code=number, message=message_of(refusal), details=[detail])
    packed: bytes = status.SerializeToString()
    return (
        (RETRY_AFTER, str(max(1, math.ceil(refusal.retry_after_s)))),
        (DETAILS, packed),
    )
