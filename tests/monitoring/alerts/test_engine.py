from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.alerts.config import AlertsConfig, Rule, Severity
from monitoring.alerts.engine import AlertReport, Alerts
from monitoring.alerts.events import Status
from monitoring.alerts.measures import Measure
from monitoring.alerts.state import MAX_WAITING, load_state, locked, save_state
from tests.monitoring.alerts.receiver import receiving
from torchkeep.errors import UserError

SECOND_NS = 10**9
START_NS = 1_800_000_000 * SECOND_NS
LABELS = {"model": "pets"}


def slow(**changes: Any) -> Rule:
    values = {"name": "slow", "measure": Measure.P99_MS, "above": 250.0} | changes
    return Rule(**values)


class Watch:
    """Evaluates one rule each second, by a new process's `Alerts` each time."""

    def __init__(self, path: Path, *rules: Rule, **settings: Any) -> None:
        self.path = path
        self.config = AlertsConfig(rules=rules, **{"log": False} | settings)
        self.now_ns = START_NS

    def see(self, p99_ms: float | None, *, after_s: float = 1.0) -> AlertReport:
        self.now_ns += int(after_s * SECOND_NS)
        measures = {"p99_ms": p99_ms}
        return Alerts(self.config, self.path).evaluate(measures, labels=LABELS, now_ns=self.now_ns)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts" / "state.json"


def test_an_alert_fires_once_stays_and_is_over_once(path: Path) -> None:
    watch = Watch(path, slow(severity=Severity.PAGE, summary="answers are slow"))
    assert watch.see(200).fired == ()
    (fired,) = watch.see(300).fired
    assert fired.labels == {"model": "pets", "alertname": "slow", "severity": "page"}
    assert fired.annotations == {
        "summary": "answers are slow",
        "condition": "p99_ms above 250",
        "value": "300",
    }
    again = watch.see(310)
    assert (again.fired, len(again.firing)) == ((), 1)
    assert again.firing[0].starts_at_ns == fired.starts_at_ns
    (over,) = watch.see(250).resolved
    assert (over.fingerprint, over.status) == (fired.fingerprint, Status.RESOLVED)
    assert over.ends_at_ns == watch.now_ns
    last = watch.see(250)
    assert (last.resolved, last.firing) == ((), ())


def test_a_second_time_is_another_event_of_the_same_alert(path: Path) -> None:
    watch = Watch(path, slow())
    first = watch.see(300).fired[0]
    watch.see(100)
    second = watch.see(300).fired[0]
    assert first.fingerprint == second.fingerprint
    assert first.id != second.id


def test_it_fires_only_after_so_many_evaluations_in_a_row(path: Path) -> None:
    watch = Watch(path, slow(for_evaluations=3))
    assert [len(watch.see(value).fired) for value in (300, 300, 100, 300, 300, 300)] == [
        0,
        0,
        0,
        0,
        0,
        1,
    ]


def test_it_fires_only_after_so_many_seconds(path: Path) -> None:
    watch = Watch(path, slow(for_s=60))
    assert watch.see(300).pending == ("slow",)
    assert watch.see(300, after_s=59).fired == ()
    assert len(watch.see(300, after_s=1).fired) == 1


def test_a_clock_that_is_set_back_delays_and_breaks_nothing(path: Path) -> None:
    watch = Watch(path, slow(for_s=60))
    watch.see(300)
    assert watch.see(300, after_s=-7200).fired == ()
    assert len(watch.see(300, after_s=60).fired) == 1
    (over,) = watch.see(100, after_s=-3600).resolved
    assert over.ends_at_ns == over.starts_at_ns


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_without_data_an_alert_neither_fires_nor_ends_and_it_is_told(
    path: Path, value: float | None
) -> None:
    watch = Watch(path, slow())
    unknown = watch.see(value)
    assert (unknown.without_data, unknown.fired) == (("slow",), ())
    watch.see(300)
    unknown = watch.see(value)
    assert (unknown.without_data, unknown.resolved, len(unknown.firing)) == (("slow",), (), 1)
    assert len(watch.see(100).resolved) == 1


def test_a_measure_nobody_collects_is_without_data(path: Path) -> None:
    watch = Watch(path, Rule(name="wrong", measure=Measure.ACCURACY, below=0.9))
    assert watch.see(300).without_data == ("wrong",)


def test_an_alert_whose_rule_is_gone_is_over(path: Path) -> None:
    Watch(path, slow()).see(300)
    (over,) = Watch(path).see(300).resolved
    assert over.annotations == {"condition": "the rule is gone"}
    assert over.value is None


def test_alerts_of_other_labels_are_left_alone(path: Path) -> None:
    watch = Watch(path, slow())
    alerts = Alerts(watch.config, path)
    watch.see(300)
    other = alerts.evaluate({"p99_ms": 1.0}, labels={"model": "cars"}, now_ns=START_NS)
    assert (other.resolved, other.firing) == ((), ())
    assert len(watch.see(300).firing) == 1


def test_what_is_told_is_logged_in_one_line(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = AlertsConfig(rules=(slow(),))
    with caplog.at_level(logging.INFO):
        Alerts(config, path).evaluate({"p99_ms": 300.0}, labels={"model": "a\nalert over: b"})
    assert caplog.messages == [
        "alert firing: p99_ms above 250 (300); alertname slow, "
        "model a\N{REPLACEMENT CHARACTER}alert over: b, severity ticket"
    ]


def test_an_event_waits_for_a_webhook_that_is_down_and_is_never_lost(path: Path) -> None:
    with receiving() as receiver:
        settings = {"webhook_url": f"{receiver.url}/hook", "attempts": 1}
        watch = Watch(path, slow(), **settings)
        receiver.status = 503
        (sent,) = watch.see(300).sent
        assert (sent.delivered, sent.waiting, sent.fault) == (0, 1, "answered 503")
        (sent,) = watch.see(100).sent
        assert (sent.delivered, sent.waiting) == (0, 2)
        receiver.status = 200
        (sent,) = watch.see(100).sent
        assert (sent.delivered, sent.waiting, sent.fault) == (2, 0, "")
        assert receiver.accepted() == [("slow", "firing"), ("slow", "resolved")]
        assert watch.see(100).sent[0].delivered == 0
        assert len(receiver.bodies) == 1


def test_a_webhook_that_cannot_be_reached_is_a_fault_not_an_error(path: Path) -> None:
    with receiving() as receiver:
        gone = receiver.url
    watch = Watch(path, slow(), webhook_url=f"{gone}/T0K3N", attempts=1)
    (sent,) = watch.see(300).sent
    assert (sent.waiting, sent.fault) == (1, "not reached: ConnectError")


def test_a_sink_that_left_the_settings_gives_up_what_waited(path: Path) -> None:
    with receiving() as receiver:
        gone = receiver.url
    Watch(path, slow(), webhook_url=gone, attempts=1).see(300)
    (sent,) = Watch(path, slow()).see(300).sent
    assert (sent.sink, sent.dropped, sent.waiting) == ("webhook", 1, 0)


def test_too_many_waiting_events_cost_the_oldest_and_are_counted(path: Path) -> None:
    with receiving() as receiver:
        gone = receiver.url
    watch = Watch(path, slow(), webhook_url=gone, attempts=1)
    event = watch.see(300).fired[0]
    state, _ = load_state(path)
    state.waiting["webhook"] = [event] * MAX_WAITING
    save_state(path, state)
    (sent,) = watch.see(100).sent
    assert (sent.waiting, sent.dropped) == (MAX_WAITING, 1)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b'{"alerts": 3}', b'{"version": 9}', b'{"more": ' + b"[" * 10**5],
    ids=["empty", "torn", "not UTF-8", "list", "wrong type", "version", "deep"],
)
def test_a_damaged_state_is_set_aside_and_told(path: Path, content: bytes) -> None:
    watch = Watch(path, slow())
    watch.see(300)
    path.write_bytes(content)
    report = watch.see(300)
    assert "was damaged" in report.state_fault
    assert len(report.fired) == 1
    assert path.with_name("state.json.damaged").read_bytes() == content
    assert watch.see(300).state_fault == ""


def test_two_evaluations_never_share_a_state(path: Path) -> None:
    watch = Watch(path, slow())
    with locked(path), pytest.raises(UserError, match="another process evaluates"):
        watch.see(300)
    assert len(watch.see(300).fired) == 1


def test_a_state_that_cannot_be_kept_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be locked"):
        Watch(tmp_path / "file" / "state.json", slow()).see(300)


VALUES = st.lists(st.sampled_from([100.0, 300.0, None]), max_size=15)


@given(values=VALUES, needed=st.integers(1, 3))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_it_fires_exactly_when_a_simple_model_says(
    tmp_path_factory: pytest.TempPathFactory, values: list[float | None], needed: int
) -> None:
    watch = Watch(tmp_path_factory.mktemp("alerts") / "s.json", slow(for_evaluations=needed))
    row, on = 0, False
    for value in values:
        report = watch.see(value)
        before = on
        if value is not None:
            row = row + 1 if value > 250 else 0
            on = row >= needed if value > 250 else False
        assert len(report.firing) == on
        assert (len(report.fired), len(report.resolved)) == (on and not before, before and not on)
