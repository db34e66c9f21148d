"""Is anything wrong? What one look found, a line a part, the worst first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from monitoring.alerts.engine import AlertReport
from monitoring.drift_report import DriftReport, Outcome
from monitoring.health import NOBODY_TOLD, Health, Missing
from monitoring.latency import Stage
from monitoring.moment import moment
from monitoring.performance_report import PerformanceReport
from monitoring.sequential_report import SequentialReport


class State(StrEnum):
    """How a part is."""

    WRONG = "wrong"  # it was decided, at a designed rate of false alarms, or a rule fires
    LOOK = "look"  # worth a look; nothing that was decided
    UNKNOWN = "unknown"  # it could not be had
    GOOD = "good"


FALL = 0.05
"""An accuracy that is estimated to have fallen by more than this is worth a look."""
_ORDER = (State.WRONG, State.LOOK, State.UNKNOWN, State.GOOD)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of one part, in one line."""

    part: str
    state: State
    says: str


def findings(health: Health) -> tuple[Finding, ...]:
    """Return a line for each part, the worst first."""
    parts: tuple[Callable[[Health], Iterator[Finding]], ...] = (
        _drift,
        _sequential,
        _novelty,
        _performance,
        _traffic,
        _latency,
        _objectives,
        _alerts,
        _log,
    )
    found = [one for part in parts for one in part(health)]
    return tuple(sorted(found, key=lambda one: _ORDER.index(one.state)))


def drifted(health: Health) -> bool:
    """Whether the window or the stream is not what the model was made with."""
    drift, stream = health.drift, health.sequential
    of_window = isinstance(drift, DriftReport) and drift.outcome is Outcome.DRIFT
    return of_window or (isinstance(stream, SequentialReport) and stream.stands)


def alerting(health: Health) -> bool:
    """Whether an alert fires; where nobody is told, whether the condition of a rule holds."""
    if isinstance(health.alerts, Missing):
        return any(rule.holds for rule in health.rules)
    return bool(health.alerts.firing)


def headline(health: Health) -> str:
    """Return the answer to "is anything wrong?" in one line."""
    found = findings(health)
    wrong = [one.part for one in found if one.state is State.WRONG]
    if wrong:
        return f"something is wrong: {', '.join(wrong)}"
    unknown = [one.part for one in found if one.state is State.UNKNOWN]
    rest = f" (not known: {', '.join(unknown)})" if unknown else ""
    return f"nothing is wrong, as far as it is known{rest}" if unknown else "nothing is wrong"


def _drift(health: Health) -> Iterator[Finding]:
    report = health.drift
    if isinstance(report, Missing):
        yield Finding("drift", State.UNKNOWN, report.reason)
        return
    states = {Outcome.DRIFT: State.WRONG, Outcome.QUIET: State.GOOD}
    yield Finding("drift", states.get(report.outcome, State.UNKNOWN), report.says)


def _sequential(health: Health) -> Iterator[Finding]:
    report = health.sequential
    if isinstance(report, Missing):
        yield Finding("stream", State.UNKNOWN, report.reason)
    elif report.alarms:
        first = report.alarms[0]
        way = "rose or spread" if first.rising else "fell"
        began = f"since {moment(first.change_timestamp_ns)} UTC"
        says = f"{first.witness} {way} {began}, seen {first.delay} items later"
        more = f"; {len(report.alarms)} alarms" if len(report.alarms) > 1 else ""
        goes_on = ", and it goes on" if report.ongoing else ""
        yield Finding("stream", State.WRONG, says + more + goes_on)
    elif report.ongoing:
        yield Finding("stream", State.WRONG, "a shift of before this span goes on")
    elif not report.counts.judged:
        yield Finding("stream", State.UNKNOWN, "no item could be judged")
    else:
        skipped = f", {report.skipped:,} skipped" if report.skipped else ""
        judged = f"{report.counts.judged:,} items{skipped}, no alarm"
        rate = f"one false alarm in {report.average_run_length:,} items by design"
        state = State.LOOK if report.skipped else State.GOOD
        yield Finding("stream", state, f"{judged} ({rate})")


def _novelty(health: Health) -> Iterator[Finding]:
    report = health.novelty
    if isinstance(report, Missing):
        yield Finding("novelty", State.UNKNOWN, report.reason)
    elif report.note or not report.judged:
        yield Finding("novelty", State.UNKNOWN, report.note or "no item could be judged")
    else:
        above = report.share_low > report.level
        says = f"{report.novel:,} of {report.judged:,} items novel ({report.share:.1%})"
        usual = f"; {report.level:.0%} would be usual"
        yield Finding("novelty", State.LOOK if above else State.GOOD, says + usual)


def _performance(health: Health) -> Iterator[Finding]:
    report = health.performance
    if isinstance(report, Missing):
        yield Finding("accuracy", State.UNKNOWN, report.reason)
        return
    told = [*_realised(report), *_estimated(report)]
    fell = _accuracy_fell(health.drift) or _estimate_fell(report)
    if not told:
        reason = report.notes[0] if report.notes else "neither labels nor a reference"
        yield Finding("accuracy", State.UNKNOWN, reason)
    else:
        yield Finding("accuracy", State.LOOK if fell else State.GOOD, "; ".join(told))


def _accuracy_fell(report: DriftReport | Missing) -> bool:
    if isinstance(report, Missing) or report.concept.p_value is None:
        return False
    return report.concept.p_value <= report.false_alarm_rate


def _estimate_fell(report: PerformanceReport) -> bool:
    of = report.estimated
    return of is not None and of.accuracy < of.reference_accuracy - FALL


def _realised(report: PerformanceReport) -> Iterator[str]:
    if report.realised is not None:
        accuracy = report.realised.accuracy
        if accuracy.value is not None and accuracy.low is not None and accuracy.high is not None:
            interval = f"[{accuracy.low:.1%}, {accuracy.high:.1%}]"
            yield f"{accuracy.value:.1%} {interval} of {accuracy.trials:,} labelled items"


def _estimated(report: PerformanceReport) -> Iterator[str]:
    if report.estimated is not None:
        yield (
            f"{report.estimated.accuracy:.1%} estimated without labels "
            f"({report.estimated.reference_accuracy:.1%} on the reference)"
        )


def _traffic(health: Health) -> Iterator[Finding]:
    report = health.traffic
    if isinstance(report, Missing):
        yield Finding("traffic", State.UNKNOWN, report.reason)
        return
    shares = {
        "failed": report.error_share,
        "refused": report.refused_share,
        "suspicious": report.suspicious_share,
    }
    told = [f"{share:.2%} {name}" for name, share in shares.items() if share is not None]
    says = f"{report.requests:,} requests, {report.items:,} items"
    state = State.LOOK if report.errors or report.lost or report.future else State.GOOD
    if report.lost:
        told.append(f"{report.lost:,} records lost: the disk was full")
    if report.future:
        told.append(f"{report.future:,} records dated after now: a clock is wrong")
    yield Finding("traffic", state, ", ".join([says, *told]))


def _latency(health: Health) -> Iterator[Finding]:
    report = health.latency
    if isinstance(report, Missing):
        yield Finding("latency", State.UNKNOWN, report.reason)
        return
    whole = report.overall.get(Stage.TOTAL) or report.overall.get(Stage.HANDLER)
    if whole is None:
        yield Finding("latency", State.UNKNOWN, "no times were logged")
        return
    of = "request" if Stage.TOTAL in report.overall else "call in the worker"
    says = f"p50 {whole.p50:.1f} ms, p95 {whole.p95:.1f} ms, p99 {whole.p99:.1f} ms a {of}"
    yield Finding("latency", State.LOOK if report.implausible else State.GOOD, says)


def _objectives(health: Health) -> Iterator[Finding]:
    states = health.objectives
    if isinstance(states, Missing):
        return
    for one in states:
        burning = [burn.window.name for burn in one.burns if burn.alarming]
        left = "no requests" if one.budget_left is None else f"{one.budget_left:.0%} of budget left"
        says = f"{left}, burning too fast over {', '.join(burning)}" if burning else left
        state = State.LOOK if burning else State.GOOD
        state = State.UNKNOWN if one.budget_left is None else state
        yield Finding(f"objective {one.objective.name}", state, says)


def _alerts(health: Health) -> Iterator[Finding]:
    report = health.alerts
    if not isinstance(report, Missing):
        yield from _told_alerts(report, len(health.rules))
    elif health.rules:
        if report.reason != NOBODY_TOLD:
            yield Finding("alerts", State.LOOK, report.reason)
        held = [rule for rule in health.rules if rule.holds]
        for rule in held:
            yield Finding(f"alert {rule.name}", State.WRONG, _value(rule.condition, rule.value))
        if not held:
            yield Finding("alerts", State.GOOD, f"none of {len(health.rules)} rules holds")


def _told_alerts(report: AlertReport, rules: int) -> Iterator[Finding]:
    for event in report.firing:
        name = event.labels.get("alertname", event.fingerprint)
        condition = event.annotations.get("condition", "it fires")
        says = ": ".join(filter(None, (event.annotations.get("summary"), condition)))
        yield Finding(f"alert {name}", State.WRONG, says)
    if rules and not report.firing:
        yield Finding("alerts", State.GOOD, f"none of {rules} rules fires")
    if report.state_fault:
        yield Finding("alerts", State.LOOK, f"what fired before is not known: {report.state_fault}")
    for sink in report.sent:
        if sink.fault:
            says = f"{sink.waiting} events wait: {sink.fault}"
            yield Finding(f"alerts to {sink.sink}", State.LOOK, says)


def _value(condition: str, value: float | None) -> str:
    return condition if value is None else f"{condition}: it is {value:.4g}"


def _log(health: Health) -> Iterator[Finding]:
    log = health.log
    aside = [f"{fault} {count:,}" for fault, count in log.quarantined.items()]
    lacking = [f"{name.replace('_', ' ')} {count:,}" for name, count in log.lacking.items()]
    if aside:
        yield Finding("log", State.LOOK, f"lines that are no records: {', '.join(aside)}")
    if lacking:
        yield Finding("log", State.LOOK, f"items that lack something: {', '.join(lacking)}")
