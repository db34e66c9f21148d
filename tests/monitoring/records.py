"""A record of each kind for tests."""

from __future__ import annotations

import time
from typing import Any, cast

from torchkeep.schema import AccessRecord, InferenceRecord


def a_record(request_id: str = "r1", item: int = 0, **changes: Any) -> InferenceRecord:
    """Return a record with all that is required."""
    record: dict[str, Any] = {
        "schema": 1,
        "kind": "inference",
        "timestamp_ns": time.time_ns(),
        "request_id": request_id,
        "correlation_id": None,
        "model": "digits",
        "model_version": "1.0",
        "role": "default",
        "attempt": 1,
        "item": item,
        "items": 1,
        "status": "ok",
        "request_type": {
            "protocol": "rest",
            "content_type": "image/png",
            "format": "png",
            "operation": "predict",
        },
        "runtime_ms": {"decode": 0.1, "screen_predict": 2.5, "total": 3.0},
        "prediction": ["7", "1"],
        "probability": [0.75, 0.25],
        "input_data_summary": None,
        "embedding": None,
        "screening": {
            "verdict": "clean",
            "score": 0.5,
            "p_value": 0.25,
            "threshold": 4.5,
            "calibration_id": "c1",
            "policy": "flag",
            "heads": {"activation": 0.5},
        },
        "error": None,
        "batch_size": 1,
        "device": "cpu",
        "worker": 1,
        "artifact_digest": "d1",
        "code_version": "0.1.0",
        "client": None,
    }
    return cast(InferenceRecord, record | changes)


def an_access_record(request_id: str = "r1", **changes: Any) -> AccessRecord:
    """Return an access record with all that is required."""
    record: dict[str, Any] = {
        "schema": 1,
        "kind": "access",
        "timestamp_ns": time.time_ns(),
        "request_id": request_id,
        "correlation_id": None,
        "protocol": "grpc",
        "route": "ModelInfer",
        "operation": "predict",
        "model": "digits",
        "model_version": "1.0",
        "client": "c1",
        "code": "OK",
        "http_status": 200,
        "message": "",
        "items": 2,
        "items_ok": 2,
        "bytes_in": 1568,
        "verdict": "clean",
        "queue_ms": 0.5,
        "backend_ms": 3.5,
        "total_ms": 4.25,
        "batch_size": 8,
        "attempt": 1,
        "gateway": 1,
        "code_version": "0.1.0",
    }
    return cast(AccessRecord, record | changes)
