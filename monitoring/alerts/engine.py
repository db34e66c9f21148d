"""Evaluates the rules: which alerts fire, which are over, and whom to tell.

The new state, with all that has to be told, is on the disk before anything is sent, and what was
accepted is struck off after. So a death in between tells twice rather than never.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monitoring.alerts.alertmanager import PATH, Alertmanager
from monitoring.alerts.config import AlertsConfig, Rule
from monitoring.alerts.events import Event, Status, fingerprint
from monitoring.alerts.http_post import Poster
from monitoring.alerts.lifecycle import advance, alert_labels, firing, known, resolved
from monitoring.alerts.measures import Measures
from monitoring.alerts.sinks import LogSink, Outcome, Sink, deliver_all
from monitoring.alerts.state import State, load_state, locked, save_state
from monitoring.alerts.webhook import Webhook, read_webhook_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of what one sink had to be told."""

    sink: str
    delivered: int
    waiting: int
    """Events kept for the next evaluation."""
    fault: str
    """Why some are waiting; "" if none is."""
    dropped: int
    """Events given up: too many waited, or the sink is no longer in the settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertReport:
    """What one evaluation found."""

    fired: tuple[Event, ...]
    """Alerts that began to fire now."""
    resolved: tuple[Event, ...]
    """Alerts that are over now."""
    firing: tuple[Event, ...]
    """All alerts that fire, the new ones among them."""
    pending: tuple[str, ...]
    """Rules whose condition holds, but not for long enough."""
    without_data: tuple[str, ...]
    """Rules whose measure is not known: they keep their state."""
    sent: tuple[Sent, ...]
    state_fault: str
    """Why the state of before could not be used; "" if it could."""


class Alerts:
    """The rules and their state, which a file keeps from one evaluation to the next."""

    def __init__(self, config: AlertsConfig, state: Path) -> None:
        """Keep the state in the file `state`; it is made by the first evaluation.

        Raises `KeyFileError` if the webhook's key cannot be used.
        """
        self._config = config
        self._path = state
        self._sinks = make_sinks(config)

    def evaluate(
        self, measures: Measures, *, labels: Mapping[str, str], now_ns: int | None = None
    ) -> AlertReport:
        """Compare the measures with the rules, keep the new state and tell the sinks.

        `labels`, such as the model's name, become part of every alert; alerts of other labels in
        the same state are left alone. Raises `UserError` if another process evaluates with the
        same state, or if the state cannot be read or written.
        """
        now = time.time_ns() if now_ns is None else now_ns
        with locked(self._path):
            state, fault = load_state(self._path)
            events, without_data = self._advance(state, measures, labels, now)
            dropped = self._enqueue(state, events)
            save_state(self._path, state)
            still = self._firing(state, labels)
            outcomes = self._deliver(state, still, now)
            save_state(self._path, state)
        return AlertReport(
            fired=tuple(event for event in events if event.status is Status.FIRING),
            resolved=tuple(event for event in events if event.status is Status.RESOLVED),
            firing=tuple(still),
            pending=self._pending(state, labels),
            without_data=without_data,
            sent=_sent(state, outcomes, dropped),
            state_fault=fault,
        )

    def _advance(
        self, state: State, measures: Measures, scope: Mapping[str, str], now_ns: int
    ) -> tuple[list[Event], tuple[str, ...]]:
        events = _retire(state, self._by_fingerprint(scope), scope, now_ns)
        without_data = []
        for key, rule in self._by_fingerprint(scope).items():
            value = known(measures.get(rule.measure))
            if value is None:
                without_data.append(rule.name)
                continue
            after, event = advance(rule, scope, state.alerts.pop(key, None), value, now_ns)
            if after is not None:
                state.alerts[key] = after
            if event is not None:
                events.append(event)
        return events, tuple(without_data)

    def _by_fingerprint(self, scope: Mapping[str, str]) -> dict[str, Rule]:
        return {fingerprint(alert_labels(rule, scope)): rule for rule in self._config.rules}

    def _enqueue(self, state: State, events: list[Event]) -> dict[str, int]:
        """Let the events wait for each sink; returns how many were given up, by sink."""
        names = {sink.name for sink in self._sinks}
        gone = {name: len(state.waiting.pop(name)) for name in set(state.waiting) - names}
        return gone | {name: state.enqueue(name, events) for name in sorted(names)}

    def _firing(self, state: State, scope: Mapping[str, str]) -> list[Event]:
        rules = self._by_fingerprint(scope)
        return [
            firing(alert, rules[key])
            for key, alert in state.alerts.items()
            if key in rules and alert.starts_at_ns is not None
        ]

    def _pending(self, state: State, scope: Mapping[str, str]) -> tuple[str, ...]:
        rules = self._by_fingerprint(scope)
        return tuple(
            rules[key].name
            for key, alert in state.alerts.items()
            if key in rules and alert.starts_at_ns is None
        )

    def _deliver(self, state: State, still: list[Event], now_ns: int) -> dict[str, Outcome]:
        """Tell the sinks; what they accepted no longer waits."""
        work = {}
        for sink in self._sinks:
            waiting = state.waiting[sink.name]
            told = {event.id for event in waiting}
            again = [event for event in still if sink.repeats and event.id not in told]
            work[sink] = waiting + again
        outcomes = deliver_all(work, now_ns, self._config.deadline_s)
        for name, outcome in outcomes.items():
            state.waiting[name] = state.waiting[name][outcome.delivered :]
        return outcomes


def _retire(
    state: State, rules: Mapping[str, Rule], scope: Mapping[str, str], now_ns: int
) -> list[Event]:
    """Remove the alerts of this scope whose rule is gone or another now."""
    gone = [key for key, alert in state.alerts.items() if alert.scope == scope and key not in rules]
    alerts = [state.alerts.pop(key) for key in gone]
    return [
        resolved(alert, None, None, now_ns) for alert in alerts if alert.starts_at_ns is not None
    ]


def make_sinks(config: AlertsConfig) -> list[Sink]:
    """Return the sinks that the settings name; raises `KeyFileError` for an unusable key."""

    def poster(url: str) -> Poster:
        return Poster(url=url, timeout_s=config.timeout_s, attempts=config.attempts)

    sinks: list[Sink] = [LogSink()] if config.log else []
    if config.webhook_url is not None:
        key = None if config.webhook_key is None else read_webhook_key(config.webhook_key)
        sinks.append(Webhook(poster(config.webhook_url), key=key))
    if config.alertmanager_url is not None:
        address = config.alertmanager_url.rstrip("/") + PATH
        sinks.append(Alertmanager(poster(address), stale_s=config.stale_s))
    return sinks


def _sent(
    state: State, outcomes: Mapping[str, Outcome], dropped: Mapping[str, int]
) -> tuple[Sent, ...]:
    nothing = Outcome(0, "no longer in the settings")
    return tuple(
        Sent(
            sink=name,
            delivered=outcomes.get(name, nothing).delivered,
            waiting=len(state.waiting.get(name, [])),
            fault=outcomes.get(name, nothing).fault,
            dropped=dropped[name],
        )
        for name in sorted(dropped)
    )
