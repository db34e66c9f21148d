"""One look at one model: reads the window once and has every part of monitoring look at it.

N items
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.alerts.config import AlertsConfig
from monitoring.alerts.engine import AlertReport, Alerts
from monitoring.clock import CLOCK_TOLERANCE_NS
from monitoring.deployments import deployments
from monitoring.drift_analysis import DriftConfig, analyse
from monitoring.drift_report import DriftReport
from monitoring.health import NOBODY_TOLD, Health, LogCounts, Missing, RuleState, Span
from monitoring.health_measures import measures_of
from monitoring.label_join import Joined, join_labels
from monitoring.labels import LabelStore
from monitoring.latency import latency
from monitoring.novelty import NoveltyConfig, NoveltyReport, novelty
from monitoring.performance import performance
from monitoring.reference import Reference
from monitoring.sequential import SequentialConfig
from monitoring.sequential_report import SequentialReport
from monitoring.slo import ObjectiveState, SloConfig, slo_states
from monitoring.stream import follow, look_once
from monitoring.traffic import traffic
from monitoring.window import Window
from monitoring.windows import WindowReport, read_window_with_report
from torchkeep.errors import UserError

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The model that is looked at; without a reference little can be said of it."""

    model: str
    version: str
    artifact_digest: str
    classes: tuple[str, ...]
    feature_names: tuple[str, ...]
    reference: Reference | Missing
    train_records: tuple[Mapping[str, Any], ...] = ()
    calibration: Mapping[str, Any] | None = None
    """Of the artifact's screening."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """How each part is to look; of more than `most_items`, the latest count."""

    drift: DriftConfig
    sequential: SequentialConfig
    novelty: NoveltyConfig
    slo: SloConfig
    alerts: AlertsConfig
    most_items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What goes on from one look to the next, and may be moved by this one.

    Without `state`, the sequential alarm looks at the span alone; without `tell`, the rules are
    compared with their measures and nobody is told. `path` asks for the way of the statistic.
    """

    state: Path | None = None
    tell: bool = False
    path: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is read: the log's views, the labels, and what was already known of the log."""

    connection: duckdb.DuckDBPyConnection
    labels: LabelStore | None = None
    own_traffic: int = 0
    quarantined: Mapping[str, int]


def examine(
    source: Source, subject: Subject, span: Span, methods: Methods, keeping: Keeping, *, now_ns: int
) -> Health:
    """Look at a model. What cannot be had is `Missing`; only faults of ours are exceptions."""
    window, found = _read(source, subject, span, methods, now_ns)
    own = window.take(window.version == subject.version)
    joined = _joined(source, window)
    limits: dict[str, Any] = {
        "model": subject.model,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
    }
    parts: dict[str, Any] = {
        "drift": _drift(source, subject, window, joined, methods.drift),
        "sequential": _sequential(source, subject, own, span, methods, keeping, now_ns),
        "novelty": _novelty(subject, own, methods.novelty),
        "performance": performance(window, reference=_reference_or_none(subject), joined=joined),
        "latency": latency(source.connection, **limits),
        "traffic": traffic(source.connection, **limits, now_ns=now_ns),
        "objectives": _objectives(source, subject, methods.slo, now_ns),
    }
    measures = measures_of(**parts, quarantined=source.quarantined)
    return Health(
        model=subject.model,
        version=subject.version,
        artifact_digest=subject.artifact_digest,
        examined_at_ns=now_ns,
        span=span,
        start_ns=int(window.timestamp_ns[0]) if len(window) else None,
        end_ns=int(window.timestamp_ns[-1]) if len(window) else None,
        log=_log_counts(source, window, own, found),
        measures=measures,
        rules=tuple(_rule_states(methods.alerts, measures)),
        alerts=_alerts(subject, methods.alerts, measures, keeping, now_ns),
        **parts,
    )


def _read(
    source: Source, subject: Subject, span: Span, methods: Methods, now_ns: int
) -> tuple[Window, WindowReport]:
    """Read the span, but not what is dated after now: `traffic` counts those."""
    ahead_ns = now_ns + CLOCK_TOLERANCE_NS
    return read_window_with_report(
        source.connection,
        model=subject.model,
        classes=subject.classes,
        feature_names=subject.feature_names,
        start_ns=span.start_ns,
        end_ns=ahead_ns if span.end_ns is None else min(span.end_ns, ahead_ns),
        version=span.version or None,
        correlation_id=span.correlation_id or None,
        last=min(span.last or methods.most_items, methods.most_items),
    )


def _reference_or_none(subject: Subject) -> Reference | None:
    return subject.reference if isinstance(subject.reference, Reference) else None


def _joined(source: Source, window: Window) -> Joined | None:
    if source.labels is None:
        return None
    labels = source.labels.read()
    return join_labels(window, labels, connection=source.connection)


def _drift(
    source: Source, subject: Subject, window: Window, joined: Joined | None, config: DriftConfig
) -> DriftReport:
    """Hold the items of the reference's own version against it: other networks differ anyway."""
    rows = window.version == subject.version
    labels = None if joined is None else joined.truth[rows]
    return analyse(
        _reference_or_none(subject),
        window.take(rows),
        config=config,
        history=deployments(source.connection, subject.model),
        labels=labels,
        train_records=subject.train_records,
        calibration=subject.calibration,
    )


def _sequential(
    source: Source,
    subject: Subject,
    own: Window,
    span: Span,
    methods: Methods,
    keeping: Keeping,
    now_ns: int,
) -> SequentialReport | Missing:
    reference, config = subject.reference, methods.sequential
    if isinstance(reference, Missing):
        return reference

    def since(start_ns: int) -> tuple[Window, int]:
        later = Span(start_ns=start_ns, end_ns=span.end_ns, version=subject.version)
        items, found = _read(source, subject, later, methods, now_ns)
        return items, found.not_last

    try:
        if keeping.state is None or span.narrowed:
            return look_once(reference, config, own, path=keeping.path)
        return follow(keeping.state, reference, config, own, since, path=keeping.path)
    except UserError as error:
        return Missing(str(error))


def _novelty(subject: Subject, own: Window, config: NoveltyConfig) -> NoveltyReport | Missing:
    if isinstance(subject.reference, Missing):
        return subject.reference
    if not len(own):
        return Missing(f"no items of version {subject.version}")
    return novelty(subject.reference, own, config)


def _objectives(
    source: Source, subject: Subject, config: SloConfig, now_ns: int
) -> tuple[ObjectiveState, ...] | Missing:
    if not config.objectives:
        return Missing("no objectives: see [slo] in torchkeep.toml")
    return slo_states(
        source.connection,
        config.objectives,
        model=subject.model,
        now_ns=now_ns,
        least_requests=config.least_requests,
    )


def _log_counts(source: Source, window: Window, own: Window, found: WindowReport) -> LogCounts:
    counts = asdict(found)
    outside = ("other_role", "explained", "superseded", "not_last")
    inside = [name for name in counts if name not in (*outside, "found", "in_window")]
    return LogCounts(
        items=len(window),
        other_versions=len(window) - len(own),
        own_traffic=source.own_traffic,
        left_out={name: counts[name] for name in outside if counts[name]},
        lacking={name: counts[name] for name in inside if counts[name]},
        quarantined=dict(source.quarantined),
    )


def _rule_states(config: AlertsConfig, measures: Mapping[str, float | None]) -> list[RuleState]:
    return [
        RuleState(
            name=rule.name,
            condition=rule.condition,
            severity=str(rule.severity),
            value=(value := measures.get(str(rule.measure))),
            holds=None if value is None else rule.holds(value),
        )
        for rule in config.rules
    ]


def _alerts(
    subject: Subject,
    config: AlertsConfig,
    measures: Mapping[str, float | None],
    keeping: Keeping,
    now_ns: int,
) -> AlertReport | Missing:
    state = None if keeping.state is None else keeping.state / "alerts.json"
    if not config.rules and (state is None or not state.exists()):
        return Missing("no rules: see [alerts] in torchkeep.toml")
    if state is None or not keeping.tell:
        return Missing(NOBODY_TOLD)
    try:
        alerts = Alerts(config, state)
        return alerts.evaluate(measures, labels={"model": subject.model}, now_ns=now_ns)
    except UserError as error:
        return Missing(str(error))
