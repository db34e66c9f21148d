"""The floating types that a network may be served in."""

from __future__ import annotations

from enum import StrEnum


class Dtype(StrEnum):
    """What the network computes in; detectors and thresholds always compute in float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
