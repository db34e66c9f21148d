"""Load, latency by hour, errors, verdicts, objectives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from monitoring.health import Health, Missing
from monitoring.latency import LatencyReport, Stage
from monitoring.page.text import missing_section, share, time_axis
from monitoring.slo import ObjectiveState
from monitoring.traffic import TrafficReport
from torchkeep.render.chart import line_chart
from torchkeep.render.page import Section, Table, Tone
from torchkeep.render.series import Series


def traffic_sections(health: Health) -> Iterator[Section]:
    """Yield the sections on traffic, latency and objectives."""
    load, times = health.traffic, health.latency
    if isinstance(load, Missing):
        yield missing_section("Traffic", load)
    else:
        yield _traffic(load)
        yield _outcomes(load)
    yield missing_section("Latency", times) if isinstance(times, Missing) else _latency(times)
    if isinstance(health.objectives, Missing):
        yield missing_section("Objectives", health.objectives)
    else:
        yield _objectives(health.objectives)


def _traffic(load: TrafficReport) -> Section:
    rows: list[tuple[str, object]] = [
        ("requests", load.requests),
        ("items", load.items),
        ("requests a second", load.requests_per_s),
        ("items a second", load.items_per_s),
        ("requests in the busiest minute", load.busiest_minute),
    ]
    if load.concurrency is not None:
        rows.append(("requests under way at once, most", load.concurrency.largest))
        rows.append(("requests under way at once, mean", load.concurrency.mean))
    rows += [
        ("failed by the server's fault", share(load.error_share)),
        ("refused for want of room", share(load.refused_share)),
        ("items suspicious", share(load.suspicious_share)),
        ("items kept from an answer by screening", share(load.rejected_share)),
        ("records lost: the disk was full", load.lost),
        ("records dated after now", load.future),
        ("requests without a model", load.unattributed),
    ]
    bad = bool(load.errors or load.lost or load.future)
    return Section(
        title="Traffic",
        table=Table(("what", "value"), rows),
        tone=Tone.WARN if bad else Tone.PLAIN,
    )


def _outcomes(load: TrafficReport) -> Section:
    rows = [("request", code, count) for code, count in load.codes.items()]
    rows += [("item", status, count) for status, count in load.statuses.items()]
    rows += [("verdict", verdict, count) for verdict, count in load.verdicts.items()]
    return Section(
        title="What became of it",
        text="Requests by code, items by status, screened items by verdict.",
        table=Table(("of", "outcome", "count"), rows) if rows else None,
    )


def _latency(times: LatencyReport) -> Section:
    rows = [
        (stage, found.count, found.p50, found.p95, found.p99, found.largest)
        for stage, found in times.overall.items()
    ]
    text = (
        "Milliseconds. Of requests: the wait for a call to TorchServe (queue), the call (backend), "
        "all of it (total). Of items: decoding, the forward pass, all of the call in the worker."
    )
    if times.implausible:
        text += f" {times.implausible:,} records with impossible times are left out."
    return Section(
        title="Latency",
        text=text,
        table=Table(("stage", "count", "p50", "p95", "p99", "largest"), rows) if rows else None,
        svg=_chart(times),
    )


def _chart(times: LatencyReport) -> str:
    """p95 of each hour, over all versions and protocols the slowest."""
    slowest: dict[Stage, dict[int, float]] = defaultdict(dict)
    for row in times.by_hour:
        for stage, found in row.stages.items():
            before = slowest[stage].get(row.hour_ns, 0.0)
            slowest[stage][row.hour_ns] = max(before, found.p95)
    if not slowest:
        return ""
    hours = sorted({hour for of_stage in slowest.values() for hour in of_stage})
    axis, nan = time_axis(hours), float("nan")
    series = [
        Series(str(stage), axis.values, [of_stage.get(hour, nan) for hour in hours], marker=True)
        for stage, of_stage in slowest.items()
    ]
    title = "95 of 100 took no longer, by hour (the slowest version and protocol)"
    return line_chart(title, axis.label, "ms", series)


def _objectives(states: tuple[ObjectiveState, ...]) -> Section:
    rows = [
        (
            one.objective.name,
            f"{one.objective.target:.2%}",
            one.requests,
            share(one.good_share),
            share(one.budget_left),
            ", ".join(burn.window.name for burn in one.burns if burn.alarming) or None,
        )
        for one in states
    ]
    burning = any(burn.alarming for one in states for burn in one.burns)
    columns = ("objective", "target", "requests", "good", "budget left", "burns too fast over")
    return Section(
        title="Objectives",
        table=Table(columns, rows),
        tone=Tone.BAD if burning else Tone.PLAIN,
    )
