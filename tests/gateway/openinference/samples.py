"""A served version and outcomes to test with."""

from __future__ import annotations

from typing import Any

import numpy as np

from gateway.outcome import Outcome
from gateway.upstream import ServedVersion
from torchkeep.schema import Disclose, ItemStatus, Verdict


def served_version(**changes: Any) -> ServedVersion:
    fields: dict[str, Any] = {
        "name": "digits",
        "version": "1.0",
        "digest": "d" * 64,
        "input": (2, 3, 4),
        "classes": ("zero", "one", "two"),
        "device": "cpu",
        "workers": 2,
        "screened": True,
        "max_items": 50,
        "max_explain_items": 4,
        "max_forward_batch": 16,
    }
    return ServedVersion(**(fields | changes))


def outcome(**changes: Any) -> Outcome:
    """Three items, the second of which failed."""
    nan = float("nan")
    fields: dict[str, Any] = {
        "request_id": "r-1",
        "model": "digits",
        "version": "1.0",
        "statuses": [ItemStatus.OK, ItemStatus.BAD_INPUT, ItemStatus.OK],
        "labels": ["one", "", "zwölf"],
        "class_index": [1, -1, 2],
        "probability": [0.5, nan, 0.75],
        "probabilities": np.array(
            [[0.25, 0.5, 0.25], [nan, nan, nan], [0.125, 0.125, 0.75]], dtype=np.float32
        ),
        "disclose": Disclose.VERDICT,
        "verdicts": [Verdict.CLEAN, None, Verdict.SUSPICIOUS],
        "messages": {1: "pixels are NaN"},
    }
    return Outcome(**(fields | changes))
