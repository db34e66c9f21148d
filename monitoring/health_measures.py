"""The measures that alert rules may name, taken from one look; what is not known is None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from monitoring.alerts.measures import Measure
from monitoring.drift_report import DriftReport, Outcome
from monitoring.latency import LatencyReport, Stage
from monitoring.novelty import NoveltyReport
from monitoring.performance_report import PerformanceReport
from monitoring.sequential_report import SequentialReport
from monitoring.slo import ObjectiveState, burn_measures
from monitoring.traffic import TrafficReport


def measures_of(
    *,
    drift: object,
    sequential: object,
    novelty: object,
    performance: object,
    latency: object,
    traffic: object,
    objectives: object,
    quarantined: Mapping[str, int],
) -> dict[str, float | None]:
    """Return every measure by its name; a part that is none (`Missing`) gives None for its own."""
    found: dict[str, float | None] = dict.fromkeys(map(str, Measure))
    if isinstance(drift, DriftReport):
        found |= _of_drift(drift)
    if isinstance(sequential, SequentialReport) and sequential.counts.judged:
        found[Measure.SEQUENTIAL_ALARM] = float(sequential.stands)
    if isinstance(novelty, NoveltyReport) and novelty.judged:
        found[Measure.NOVELTY_SHARE] = novelty.share
    if isinstance(performance, PerformanceReport):
        found |= _of_performance(performance)
    if isinstance(latency, LatencyReport):
        found |= _of_latency(latency)
    if isinstance(traffic, TrafficReport):
        found |= _of_traffic(traffic)
    if isinstance(objectives, tuple):
        found |= burn_measures(_states(objectives))
    found[Measure.RECORDS_QUARANTINED] = float(sum(quarantined.values()))
    return {
        str(name): None if value is None or not math.isfinite(value) else float(value)
        for name, value in found.items()
    }


def _states(objectives: Sequence[object]) -> list[ObjectiveState]:
    return [state for state in objectives if isinstance(state, ObjectiveState)]


def _of_drift(report: DriftReport) -> dict[str, float | None]:
    if report.outcome not in (Outcome.DRIFT, Outcome.QUIET):
        return {}
    tested = [one for one in report.features if one.adjusted_p is not None]
    share = sum(one.drifted for one in tested) / len(tested) if tested else None
    return {
        Measure.DRIFT: float(report.outcome is Outcome.DRIFT),
        Measure.DRIFT_SHARE: share,
    }


def _of_performance(report: PerformanceReport) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    if report.realised is not None:
        accuracy = report.realised.accuracy
        found[Measure.ACCURACY] = accuracy.value
        found[Measure.ACCURACY_LOW] = accuracy.low
        found[Measure.ACCURACY_HIGH] = accuracy.high
    if report.estimated is not None:
        found[Measure.ESTIMATED_ACCURACY] = report.estimated.accuracy
    return found


def _of_latency(report: LatencyReport) -> dict[str, float | None]:
    total, queue = report.overall.get(Stage.TOTAL), report.overall.get(Stage.QUEUE)
    return {
        Measure.P50_MS: None if total is None else total.p50,
        Measure.P95_MS: None if total is None else total.p95,
        Measure.P99_MS: None if total is None else total.p99,
        Measure.QUEUE_P99_MS: None if queue is None else queue.p99,
    }


def _of_traffic(report: TrafficReport) -> dict[str, float | None]:
    most = report.concurrency
    return {
        Measure.SUSPICIOUS_SHARE: report.suspicious_share,
        Measure.REJECTED_SHARE: report.rejected_share,
        Measure.ERROR_SHARE: report.error_share,
        Measure.REFUSED_SHARE: report.refused_share,
        Measure.REQUESTS_PER_S: report.requests_per_s,
        Measure.CONCURRENCY: None if most is None else float(most.largest),
        Measure.RECORDS_LOST: float(report.lost),
    }
