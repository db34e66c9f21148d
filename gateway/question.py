"""A request as the data plane sees it, whatever protocol carried it.

Shapes: N items, C H W an image.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gateway.principal import Principal
from gateway.trace_context import TraceContext
from torchkeep.envelope import BodyPayload
from torchkeep.schema import Operation

Protocol = Literal["rest", "grpc"]
Payload = NDArray[Any] | Sequence[bytes | memoryview] | BodyPayload
"""N C H W values, uint8 in 0..255 or float32 in 0..1, or N encoded images, or a whole body,
which counts as one item until the handler has opened it."""


@dataclass(slots=True, kw_only=True)
class Arrival:
    """What is known of a request from its first byte on; it grows as the request is read.

    `received` is `time.monotonic()`. Every arrival ends in one access record, whatever happens.
    """

    protocol: Protocol
    route: str  # a template such as /v2/models/{model}/infer, or the name of a gRPC method
    request_id: str
    received: float = field(default_factory=time.monotonic)
    correlation_id: str | None = None
    traceparent: str = ""  # as the caller sent it
    trace: TraceContext | None = None  # as it goes on, set by `Telemetry.begin`
    principal: Principal | None = None
    model: str = ""
    version: str = ""
    operation: Operation | None = None
    items: int = 0
    bytes_in: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """N items for one model, allowed to be asked; `deadline` is on the clock of `received`."""

    arrival: Arrival
    operation: Operation
    model: str
    version: str  # as asked; "" asks for the default
    payload: Payload
    deadline: float
    principal: Principal
    session_id: str | None = None
    segments: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return 1 if isinstance(self.payload, BodyPayload) else len(self.payload)

    @property
    def nbytes(self) -> int:
        """Bytes that the payload takes while it waits."""
        if isinstance(self.payload, np.ndarray):
            return int(self.payload.nbytes)
        if isinstance(self.payload, BodyPayload):
            return len(self.payload.data)
        return sum(map(len, self.payload))
