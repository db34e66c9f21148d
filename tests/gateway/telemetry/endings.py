"""Ends of requests for tests of telemetry."""

from __future__ import annotations

from typing import Any

from gateway.finished import Finished
from gateway.question import Arrival
from gateway.refusal import Code
from tests.gateway.plane.questions import caller
from torchkeep.schema import Operation


def arrival(request_id: str = "r1", **changes: Any) -> Arrival:
    """A request for two predictions, as far as it is known when it is queued."""
    values: dict[str, Any] = {
        "protocol": "rest",
        "route": "/v2/models/{model}/infer",
        "request_id": request_id,
        "principal": caller(),
        "model": "digits",
        "version": "1.0",
        "operation": Operation.PREDICT,
        "items": 2,
        "bytes_in": 128,
    }
    return Arrival(**(values | changes))


def answered(request: Arrival | None = None, **changes: Any) -> Finished:
    """That request, answered."""
    values: dict[str, Any] = {
        "arrival": request or arrival(),
        "code": Code.OK,
        "version": "1.0",
        "verdict": "clean",
        "items_ok": 2,
        "queue_s": 0.001,
        "backend_s": 0.004,
        "total_s": 0.0065,
        "batch_size": 8,
    }
    return Finished(**(values | changes))


def refused(code: Code, request: Arrival | None = None, **changes: Any) -> Finished:
    """A request that never came into a queue."""
    values: dict[str, Any] = {"arrival": request or arrival(), "code": code, "message": "no"}
    return Finished(**(values | changes))
