"""The sequential alarm goes on from look to look, and a narrowed look does not move it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from monitoring.alarm_history import AlarmHistory
from monitoring.examination import Keeping
from monitoring.findings import drifted, findings
from monitoring.health import Health, Span
from monitoring.quarantine_history import QuarantineHistory
from monitoring.sequential_report import SequentialReport
from tests.monitoring.health.made_up import METHODS, NOW_NS, SECOND_NS, log_of, look, records, seen
from torchkeep.errors import DataError

LATER_NS = NOW_NS + 3600 * SECOND_NS


def stream(health: Health) -> SequentialReport:
    assert isinstance(health.sequential, SequentialReport)
    return health.sequential


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def test_what_one_look_took_the_next_does_not_take_again(tmp_path: Path, state: Path) -> None:
    log_of(tmp_path / "log", records(seen(100, seed=2), "early", seconds_ago=900))
    keeping = Keeping(state=state)
    first = stream(look(tmp_path, keeping=keeping))
    again = stream(look(tmp_path, keeping=keeping))
    log_of(tmp_path / "log", records(seen(50, seed=4), "late", seconds_ago=300))
    third = stream(look(tmp_path, keeping=keeping))
    assert first.followed
    assert [one.counts.judged for one in (first, again, third)] == [100, 100, 150]
    assert third.counts.late == 0


def test_an_alarm_is_told_until_its_span_is_over(tmp_path: Path, state: Path) -> None:
    keeping = Keeping(state=state)
    log_of(
        tmp_path / "log",
        records(seen(100, seed=2), "early", seconds_ago=1800),
        records(seen(120, seed=3, brightness=0.6), "dark", seconds_ago=1200),
    )
    first = look(tmp_path, keeping=keeping)
    second = look(tmp_path, keeping=keeping)
    assert len(stream(first).new) == 1
    assert stream(second).new == ()
    assert stream(second).alarms == stream(first).alarms
    assert drifted(second)
    log_of(tmp_path / "log", records(seen(600, seed=5), "bright", seconds_ago=500))
    span = Span(start_ns=NOW_NS - 400 * SECOND_NS)
    third = look(tmp_path, keeping=keeping, span=span)
    assert stream(third).alarms == ()


def test_the_span_of_a_look_loses_no_items_of_the_stream(tmp_path: Path, state: Path) -> None:
    log_of(tmp_path / "log", records(seen(40, seed=2), "a", seconds_ago=4000))
    keeping = Keeping(state=state)
    look(tmp_path, keeping=keeping)
    log_of(tmp_path / "log", records(seen(40, seed=4), "b", seconds_ago=3000))
    late = look(tmp_path, keeping=keeping, span=Span(start_ns=NOW_NS - 60 * SECOND_NS))
    assert late.log.items < 40
    assert stream(late).counts.judged == 80


@pytest.mark.parametrize(
    "span",
    [Span(version="1.0"), Span(correlation_id="one"), Span(last=10), Span(end_ns=NOW_NS)],
    ids=["version", "correlation id", "last", "until"],
)
def test_a_narrowed_look_is_forgotten(tmp_path: Path, state: Path, span: Span) -> None:
    log_of(tmp_path / "log", records(seen(40, seed=2), "a", correlation_id="one"))
    report = stream(look(tmp_path, keeping=Keeping(state=state), span=span))
    assert not report.followed
    assert list(state.iterdir()) == []


def test_a_damaged_state_is_said_and_the_rest_is_there(tmp_path: Path, state: Path) -> None:
    log_of(tmp_path / "log", records(seen(60, seed=2), "a"))
    keeping = Keeping(state=state)
    look(tmp_path, keeping=keeping)
    for file in state.glob("*.json"):
        file.write_text("nonsense")
    health = look(tmp_path, keeping=keeping)
    assert "json" in str(health.sequential)
    assert health.measures["sequential_alarm"] is None
    assert health.measures["drift"] == 0


def test_the_history_refuses_what_is_none(tmp_path: Path) -> None:
    history = AlarmHistory(tmp_path, "digits", "d1")
    assert history.read() == ()
    history.path.write_text('[{"number": 1}]')
    with pytest.raises(DataError, match="no alarms"):
        history.read()


def test_a_line_that_was_damaged_last_month_is_no_news_today(tmp_path: Path) -> None:
    history = QuarantineHistory(tmp_path / "quarantined.json")
    assert history.since(5, {}) == {}
    history.keep({"torn tail": 2}, now_ns=10)
    history.keep({"torn tail": 2}, now_ns=15)
    totals = {"torn tail": 3, "not JSON": 1}
    history.keep(totals, now_ns=20)
    assert history.since(None, totals) == history.since(5, totals) == totals
    assert history.since(12, totals) == {"torn tail": 1, "not JSON": 1}
    assert history.since(20, totals) == {}
    assert history.since(12, {"torn tail": 1}) == {}
    history.path.write_text("{}")
    with pytest.raises(DataError, match="no totals"):
        history.since(5, {})


def test_items_that_are_more_than_a_look_reads_are_counted(tmp_path: Path, state: Path) -> None:
    keeping, methods = Keeping(state=state), replace(METHODS, most_items=80)
    log_of(tmp_path / "log", records(seen(40, seed=2), "first", seconds_ago=900))
    assert stream(look(tmp_path, methods=methods, keeping=keeping)).skipped == 0
    log_of(tmp_path / "log", records(seen(200, seed=4), "then", seconds_ago=300))
    later = look(tmp_path, methods=methods, keeping=keeping)
    told = stream(later)
    assert (told.counts.judged, told.skipped) == (40 + 80, 120)
    (finding,) = [one for one in findings(later) if one.part == "stream"]
    assert "120 skipped" in finding.says
    assert stream(look(tmp_path, methods=methods, keeping=keeping)).counts.judged == 120
