"""How a model is doing: everything monitoring found out in one look, and what it could not.

A part that could not be had is `Missing` and says why. No part fails for want of another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import numpy as np

from monitoring.alerts.engine import AlertReport
from monitoring.drift_report import DriftReport
from monitoring.latency import LatencyReport
from monitoring.novelty import NoveltyReport
from monitoring.performance_report import PerformanceReport
from monitoring.sequential_report import SequentialReport
from monitoring.slo import ObjectiveState
from monitoring.traffic import TrafficReport

NOBODY_TOLD = "this look tells nobody"
"""Why a look that is not the regular one has no alerts."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A part that could not be had, and why, in a few words."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which records were asked for; None and "" do not limit. Times are UTC, ns since 1970."""

    start_ns: int | None = None
    end_ns: int | None = None
    last: int | None = None
    version: str = ""
    correlation_id: str = ""

    @property
    def narrowed(self) -> bool:
        """Whether some of the traffic or the past was asked for: no state goes on from there."""
        part = self.version or self.correlation_id or self.last is not None
        return bool(part) or self.end_ns is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCounts:
    """What the log held: counts of items, but `quarantined`, which are lines."""

    items: int
    """In the span, of the model."""
    other_versions: int
    """Of those, answered by another version than the reference's: not held against it."""
    own_traffic: int
    """Sent by Torchkeep's own command, in the whole log; left out."""
    left_out: Mapping[str, int]
    """Items of the span that are no prediction of the default version, by reason."""
    lacking: Mapping[str, int]
    """Items of the span that lack something, by what."""
    quarantined: Mapping[str, int]
    """Lines that are no records, by fault: those that were found since the span began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleState:
    """An alert rule and the value it looks at; `holds` is None where the value is not known."""

    name: str
    condition: str
    severity: str
    value: float | None
    holds: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One look at one model. `start_ns` and `end_ns` are those of the items that were found."""

    model: str
    version: str
    artifact_digest: str
    examined_at_ns: int
    span: Span
    start_ns: int | None
    end_ns: int | None
    log: LogCounts
    drift: DriftReport | Missing
    sequential: SequentialReport | Missing
    novelty: NoveltyReport | Missing
    performance: PerformanceReport | Missing
    latency: LatencyReport | Missing
    traffic: TrafficReport | Missing
    objectives: tuple[ObjectiveState, ...] | Missing
    measures: Mapping[str, float | None]
    rules: tuple[RuleState, ...]
    alerts: AlertReport | Missing

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON; numbers that are not finite become None."""
        novelty = self.novelty
        parts = {
            "drift": self.drift,
            "sequential": self.sequential,
            "performance": self.performance,
            "latency": self.latency,
            "traffic": self.traffic,
            "objectives": self.objectives,
            "alerts": self.alerts,
        }
        return {
            "model": self.model,
            "version": self.version,
            "artifact_digest": self.artifact_digest,
            "examined_at_ns": self.examined_at_ns,
            "span": asdict(self.span),
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "log": plain(self.log),
            **{name: plain(part) for name, part in parts.items()},
            "novelty": plain(novelty) if isinstance(novelty, Missing) else novelty.to_json(),
            "measures": plain(self.measures),
            "rules": plain(self.rules),
        }


def plain(value: Any) -> Any:
    """Return a dataclass, mapping or sequence as what JSON can hold; `Missing` as its reason."""
    if isinstance(value, Missing):
        return {"missing": value.reason}
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "to_json"):
        return plain(value.to_json())
    if hasattr(value, "__struct_fields__"):  # an alert is a msgspec struct
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
