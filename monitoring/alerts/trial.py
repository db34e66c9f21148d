"""A trial alert: whether every sink can be told, before it matters."""

from __future__ import annotations

import time
from dataclasses import replace

from monitoring.alerts.config import AlertsConfig, Rule, Severity
from monitoring.alerts.engine import Sent, make_sinks
from monitoring.alerts.lifecycle import advance
from monitoring.alerts.measures import Measure
from monitoring.alerts.sinks import deliver_all

NAME = "torchkeep_trial"
_SUMMARY = "a trial: somebody wants to know whether alerts arrive"
_STALE_S = 60.0


def try_sinks(config: AlertsConfig, *, now_ns: int | None = None) -> tuple[Sent, ...]:
    """Tell every sink of an alert that fires and is over at once; nothing is kept or tried later.

    Alertmanager, which hears how alerts stand, is told that it fires, for a minute. Raises
    `KeyFileError` if the webhook's key cannot be used.
    """
    now = time.time_ns() if now_ns is None else now_ns
    rule = Rule(
        name=NAME, measure=Measure.DRIFT, above=0.0, severity=Severity.INFO, summary=_SUMMARY
    )
    alert, fires = advance(rule, {}, None, 1.0, now)
    _, over = advance(rule, {}, alert, 0.0, now)
    both = [event for event in (fires, over) if event is not None]
    sinks = make_sinks(replace(config, stale_s=_STALE_S))
    work = {sink: both[:1] if sink.repeats else both for sink in sinks}
    outcomes = deliver_all(work, now, config.deadline_s)
    return tuple(
        Sent(
            sink=sink.name,
            delivered=outcomes[sink.name].delivered,
            waiting=0,
            fault=outcomes[sink.name].fault,
            dropped=len(events) - outcomes[sink.name].delivered,
        )
        for sink, events in work.items()
    )
