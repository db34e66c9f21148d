"""How an alert lives: its condition holds, it fires, it is over."""

from __future__ import annotations

import math
from collections.abc import Mapping

from monitoring.alerts.config import Rule
from monitoring.alerts.events import Event, Status, fingerprint
from monitoring.alerts.state import ActiveAlert

_NS = 1_000_000_000


def alert_labels(rule: Rule, scope: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that make an alert of this rule what it is."""
    return {**scope, "alertname": rule.name, "severity": rule.severity.value}


def known(value: float | None) -> float | None:
    """Return a measure's value, or None if it is no finite number."""
    return value if value is not None and math.isfinite(value) else None


def advance(
    rule: Rule, scope: Mapping[str, str], alert: ActiveAlert | None, value: float, now_ns: int
) -> tuple[ActiveAlert | None, Event | None]:
    """Return the alert after one more value, None if there is none; and what to tell of it."""
    if not rule.holds(value):
        over = alert is not None and alert.starts_at_ns is not None
        return None, resolved(alert, rule, value, now_ns) if alert and over else None
    labels = alert_labels(rule, scope)
    since = min(alert.since_ns, now_ns) if alert else now_ns  # a clock may be set back
    evaluations = alert.evaluations + 1 if alert else 1
    starts = alert.starts_at_ns if alert else None
    long_enough = evaluations >= rule.for_evaluations and now_ns - since >= rule.for_s * _NS
    fires_now = starts is None and long_enough
    after = ActiveAlert(
        labels=labels,
        scope=dict(scope),
        since_ns=since,
        evaluations=evaluations,
        value=value,
        starts_at_ns=now_ns if fires_now else starts,
    )
    return after, firing(after, rule) if fires_now else None


def firing(alert: ActiveAlert, rule: Rule) -> Event:
    """Return the event that a firing alert fires; raises `ValueError` if it does not."""
    if alert.starts_at_ns is None:
        raise ValueError("the alert does not fire")
    return Event(
        fingerprint=fingerprint(alert.labels),
        status=Status.FIRING,
        labels=alert.labels,
        annotations=_annotations(rule, alert.value),
        starts_at_ns=alert.starts_at_ns,
        ends_at_ns=None,
        value=alert.value,
    )


def resolved(alert: ActiveAlert, rule: Rule | None, value: float | None, now_ns: int) -> Event:
    """Return the event that a firing alert is over; without a rule, because the rule is gone."""
    starts = alert.starts_at_ns or alert.since_ns
    return Event(
        fingerprint=fingerprint(alert.labels),
        status=Status.RESOLVED,
        labels=alert.labels,
        annotations=_annotations(rule, value) if rule else {"condition": "the rule is gone"},
        starts_at_ns=starts,
        ends_at_ns=max(now_ns, starts),
        value=value,
    )


def _annotations(rule: Rule, value: float | None) -> dict[str, str]:
    told = {"condition": rule.condition, "value": "" if value is None else f"{value:.6g}"}
    return {"summary": rule.summary, **told} if rule.summary else told
