"""The request log's view of a call: one record an item, or one for a refused request."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from handlers.call import Call
from handlers.item import Item, Judgement
from handlers.served_model import ServedModel
from monitoring.array_fields import encode_input
from monitoring.request_log import is_sampled
from torchkeep.envelope import Origin
from torchkeep.errors import ItemError
from torchkeep.ids import trace_id_of
from torchkeep.schema import (
    SCHEMA_VERSION,
    ErrorInfo,
    InferenceRecord,
    ItemStatus,
    Policy,
    RequestType,
    RuntimeMs,
    Screening,
)


class _Logging(NamedTuple):
    """When and by whom records are made, one for all that are made together."""

    timestamp_ns: int
    worker: int
    runtime: RuntimeMs

    @classmethod
    def now(cls, runtime: RuntimeMs) -> _Logging:
        return cls(time.time_ns(), os.getpid(), runtime)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBuilder:
    """Builds records; those of one call share a `runtime`, complete when they are written."""

    model: ServedModel
    policy: Policy
    sample_inputs: float = 0.0

    def of_items(self, items: Sequence[Item], runtime: RuntimeMs) -> list[InferenceRecord]:
        """Return one record an item, while the items still have their images."""
        logging = _Logging.now(runtime)
        return [self._of_item(item, logging) for item in items]

    def of_refusal(self, call: Call, fault: ItemError, runtime: RuntimeMs) -> InferenceRecord:
        """Return the one record of a request that was refused as a whole."""
        logging = _Logging.now(runtime)
        record = self._frame(call.origin, 0, fault.status, call.request_type, logging)
        record["error"] = {"status": fault.status, "message": fault.message}
        return record

    def _of_item(self, item: Item, logging: _Logging) -> InferenceRecord:
        record = self._frame(item.origin, item.index, item.status, item.request_type, logging)
        record["input_data_summary"] = item.summary
        record["error"] = _error(item)
        judgement = item.judgement
        if judgement is not None:
            record["prediction"] = judgement.labels
            record["probability"] = judgement.ranked
            record["embedding"] = judgement.embedding
            record["screening"] = self._screening(judgement)
            record["batch_size"] = judgement.batch_size
        if item.image is not None and self._samples(item):
            record["input"] = encode_input(item.image)
        return record

    def _samples(self, item: Item) -> bool:
        share = self.sample_inputs
        return share > 0 and is_sampled(item.origin.request_id, item.index, share)

    def _frame(
        self,
        origin: Origin,
        index: int,
        status: ItemStatus,
        request_type: RequestType,
        logging: _Logging,
    ) -> InferenceRecord:
        """Return what a record has whether or not there was anything to decode or to judge."""
        model = self.model
        record: InferenceRecord = {
            "schema": SCHEMA_VERSION,
            "kind": "inference",
            "timestamp_ns": logging.timestamp_ns,
            "request_id": origin.request_id,
            "correlation_id": origin.correlation_id,
            "model": model.name,
            "model_version": model.version,
            "role": origin.role,
            "attempt": origin.attempt,
            "item": index,
            "items": origin.items,
            "status": status,
            "request_type": request_type,
            "runtime_ms": logging.runtime,
            "prediction": [],
            "probability": [],
            "input_data_summary": None,
            "embedding": None,
            "screening": None,
            "error": None,
            "batch_size": 0,
            "device": model.device,
            "worker": logging.worker,
            "artifact_digest": model.digest,
            "code_version": model.code_version,
            "client": origin.client,
        }
        if origin.session_id is not None:
            record["session_id"] = origin.session_id
        if origin.segments:
            record["segments"] = dict(origin.segments)
        if origin.traceparent and (trace_id := trace_id_of(origin.traceparent)):
            record["trace_id"] = trace_id
        return record

    def _screening(self, judgement: Judgement) -> Screening:
        return {
            "verdict": judgement.verdict,
            "score": judgement.score,
            "p_value": judgement.p_value,
            "threshold": self.model.threshold,
            "calibration_id": self.model.calibration_id,
            "policy": self.policy,
            "heads": dict(zip(self.model.head_names, judgement.head_p_values, strict=True)),
        }


def _error(item: Item) -> ErrorInfo | None:
    if item.status is ItemStatus.OK:
        return None
    return {"status": item.status, "message": item.message}
