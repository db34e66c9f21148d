"""Questions and served versions for tests of the data plane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from gateway.finished import Finished
from gateway.plane.pending import Pending
from gateway.principal import Permission, Principal
from gateway.question import Arrival, Payload, Question
from gateway.upstream import ServedVersion
from torchkeep.schema import Operation

DIGITS = ServedVersion(
    name="digits",
    version="1.0",
    digest="0" * 64,
    input=(1, 8, 8),
    classes=tuple("0123456789"),
    device="cpu",
    workers=1,
    screened=True,
    max_items=10_000,
    max_explain_items=16,
    max_forward_batch=256,
)


def caller(name: str = "anna") -> Principal:
    return Principal(name=name, client=f"client-{name}", permissions=frozenset(Permission))


def question(
    items: int = 1,
    *,
    client: str = "anna",
    payload: Payload | None = None,
    timeout_s: float = 30.0,
    request_id: str = "r",
    **changes: Any,
) -> Question:
    if payload is None:
        payload = np.zeros((items, 1, 8, 8), dtype=np.uint8)
    arrival = Arrival(protocol="rest", route="/v2/models/{model}/infer", request_id=request_id)
    values: dict[str, Any] = {
        "arrival": arrival,
        "operation": Operation.PREDICT,
        "model": "digits",
        "version": "",
        "payload": payload,
        "deadline": time.monotonic() + timeout_s,
        "principal": caller(client),
    }
    return Question(**(values | changes))


def pending(asked: Question) -> Pending:
    answer: asyncio.Future[Any] = asyncio.Future(loop=asyncio.new_event_loop())
    return Pending(asked, DIGITS, answer, len(asked), asked.nbytes)


class Told:
    """A `Telemetry` that remembers."""

    def __init__(self) -> None:
        self.requests: list[Finished] = []

    def begin(self, arrival: Arrival) -> None: ...

    async def finished(self, requests: Sequence[Finished]) -> None:
        self.requests.extend(requests)
