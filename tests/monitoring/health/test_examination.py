"""One look: everything that can be known, and what cannot, by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from monitoring.alerts.config import AlertsConfig, Rule
from monitoring.alerts.engine import AlertReport
from monitoring.alerts.measures import Measure
from monitoring.drift_report import DriftReport, Outcome
from monitoring.examination import Keeping
from monitoring.findings import State, alerting, drifted, findings, headline
from monitoring.health import Missing, Span
from monitoring.labels import SCHEMA, LabelStore
from monitoring.performance_report import PerformanceReport
from monitoring.sequential_report import SequentialReport
from monitoring.slo import Objective, ObjectiveKind, SloConfig
from tests.monitoring.health.made_up import (
    CLASSES,
    METHODS,
    NOW_NS,
    SECOND_NS,
    log_of,
    look,
    records,
    seen,
)

DARK = seen(200, seed=3, brightness=0.6)


def states(health: object) -> dict[str, State]:
    return {one.part: one.state for one in findings(health)}  # type: ignore[arg-type]


def test_usual_traffic_is_quiet(tmp_path: Path) -> None:
    log_of(tmp_path / "log", records(seen(200, seed=2), "users"))
    health = look(tmp_path)
    assert headline(health) == "nothing is wrong"
    assert not drifted(health)
    assert health.log.items == 200
    assert isinstance(health.performance, PerformanceReport)
    assert health.measures["drift"] == 0
    assert health.measures["sequential_alarm"] == 0
    assert health.measures["p99_ms"] == pytest.approx(4.25)
    assert health.measures["accuracy"] is None


def test_dark_images_are_found_by_the_window_and_by_the_stream(tmp_path: Path) -> None:
    log_of(
        tmp_path / "log",
        records(seen(200, seed=2), "users", seconds_ago=900),
        records(DARK, "dark", seconds_ago=300),
    )
    health = look(tmp_path, span=Span(start_ns=NOW_NS - 300 * SECOND_NS))
    assert health.log.items == 200
    assert isinstance(health.drift, DriftReport)
    assert health.drift.outcome is Outcome.DRIFT
    assert isinstance(health.sequential, SequentialReport)
    assert health.sequential.alarms
    assert states(health)["drift"] is states(health)["stream"] is State.WRONG
    assert headline(health).startswith("something is wrong: drift, stream")


def test_everything_is_plain_json(tmp_path: Path) -> None:
    log_of(tmp_path / "log", records(DARK, "dark"))
    health = look(tmp_path, keeping=Keeping(path=True))
    told = orjson.loads(orjson.dumps(health.to_json()))
    assert told["drift"]["outcome"] == "drift"
    assert told["sequential"]["path"]
    assert told["novelty"]["novel"] > 0
    assert told["objectives"] == {"missing": "no objectives: see [slo] in torchkeep.toml"}


def test_an_empty_log_and_no_reference_are_said(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    health = look(tmp_path, of=Missing("there is no reference"))
    told = {one.part: one.says for one in findings(health)}
    assert health.log.items == 0
    assert not drifted(health)
    assert {states(health)[part] for part in ("drift", "stream", "novelty", "latency")} == {
        State.UNKNOWN
    }
    assert told["stream"] == told["novelty"] == "there is no reference"
    assert "not known" in headline(health)
    assert orjson.dumps(health.to_json())


def test_few_items_are_too_few_and_no_drift(tmp_path: Path) -> None:
    log_of(tmp_path / "log", records(seen(8, seed=2), "users"))
    health = look(tmp_path)
    assert isinstance(health.drift, DriftReport)
    assert health.drift.outcome is Outcome.TOO_FEW_ROWS
    assert health.measures["drift"] is None
    assert states(health)["drift"] is State.UNKNOWN


def test_other_versions_are_not_held_against_this_reference(tmp_path: Path) -> None:
    log_of(
        tmp_path / "log",
        records(seen(120, seed=2), "users"),
        records(DARK, "dark", model_version="2.0"),
    )
    health = look(tmp_path)
    assert (health.log.items, health.log.other_versions) == (320, 200)
    assert not drifted(health)


def test_the_latest_items_count_and_the_others_are_counted(tmp_path: Path) -> None:
    log_of(tmp_path / "log", records(seen(100, seed=2), "users"))
    health = look(tmp_path, methods=replace(METHODS, most_items=60))
    assert health.log.items == 60
    assert health.log.left_out == {"not_last": 40}
    assert look(tmp_path, span=Span(last=10)).log.items == 10


def test_labels_tell_the_accuracy(tmp_path: Path) -> None:
    usual = seen(200, seed=2)
    log_of(tmp_path / "log", records(usual, "users"))
    table = LabelStore(tmp_path / "labels")
    rows = [
        {
            "request_id": f"users-{row}",
            "item": 0,
            "client": None,
            "label": CLASSES[int(label)],
            "labelled_at_ns": NOW_NS,
            "source": "test",
        }
        for row, label in enumerate(usual.labels[:100])
    ]
    fields = pa.schema([field for field in SCHEMA if field.name != "added_at_ns"])
    table.add(pa.Table.from_pylist(rows, schema=fields))
    health = look(tmp_path, labels=table)
    predicted = usual.probabilities[:100].argmax(axis=1)
    right = float((predicted == usual.labels[:100]).mean())
    assert health.measures["accuracy"] == pytest.approx(right)
    assert "of 100 labelled items" in {one.part: one.says for one in findings(health)}["accuracy"]


def test_a_rule_that_nobody_is_told_of_still_counts(tmp_path: Path) -> None:
    slow = Rule(name="slow", measure=Measure.P99_MS, above=1.0)
    never = Rule(name="wrong", measure=Measure.ACCURACY, below=0.5)
    log_of(tmp_path / "log", records(seen(60, seed=2), "users"))
    health = look(
        tmp_path, methods=replace(METHODS, alerts=AlertsConfig(rules=(slow, never), log=False))
    )
    assert [(rule.name, rule.holds) for rule in health.rules] == [("slow", True), ("wrong", None)]
    assert alerting(health)
    assert states(health)["alert slow"] is State.WRONG
    assert isinstance(health.alerts, Missing)


def test_an_alert_is_told_once_and_ends_with_its_cause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log_of(tmp_path / "log", records(seen(60, seed=2), "users"))
    keeping = Keeping(state=tmp_path, tell=True)
    lines = []
    for limit in (1.0, 1.0, 1000.0):
        rule = Rule(name="slow", measure=Measure.P99_MS, above=limit, summary="answers are slow")
        methods = replace(METHODS, alerts=AlertsConfig(rules=(rule,)))
        health = look(tmp_path, methods=methods, keeping=keeping)
        lines.append((alerting(health), states(health).get("alert slow"), len(caplog.messages)))
        caplog.clear()
    assert lines == [(True, State.WRONG, 1), (True, State.WRONG, 0), (False, None, 1)]
    assert states(health)["alerts"] is State.GOOD


def test_an_alert_ends_when_its_rule_is_taken_out(tmp_path: Path) -> None:
    log_of(tmp_path / "log", records(seen(60, seed=2), "users"))
    keeping = Keeping(state=tmp_path, tell=True)
    rule = Rule(name="slow", measure=Measure.P99_MS, above=1.0)
    methods = replace(METHODS, alerts=AlertsConfig(rules=(rule,), log=False))
    assert alerting(look(tmp_path, methods=methods, keeping=keeping))
    after = look(tmp_path, keeping=keeping)
    assert isinstance(after.alerts, AlertReport)
    assert [event.labels["alertname"] for event in after.alerts.resolved] == ["slow"]
    assert not alerting(after)


def test_objectives_tell_how_much_of_the_budget_is_left(tmp_path: Path) -> None:
    usual = records(seen(60, seed=2), "users")
    failed = records(seen(20, seed=3), "failed", http_status=500, code="INTERNAL")
    log_of(tmp_path / "log", usual, [one for one in failed if one["kind"] == "access"])
    objective = Objective(name="answers", kind=ObjectiveKind.AVAILABILITY, target=0.9)
    methods = replace(METHODS, slo=SloConfig(objectives=(objective,)))
    health = look(tmp_path, methods=methods)
    assert health.measures["budget_left"] == pytest.approx(1 - 0.25 / 0.1)
    assert health.measures["error_share"] == pytest.approx(0.25)
    assert {states(health)[part] for part in ("objective answers", "traffic")} == {State.LOOK}


def test_what_the_log_lacks_is_counted(tmp_path: Path) -> None:
    usual = records(seen(60, seed=2), "users")
    torn = [{**one, "embedding": None, "input_data_summary": None} for one in usual[:20]]
    unread = [{**one, "request_id": f"u{n}"} for n, one in enumerate(torn)]
    log_of(tmp_path / "log", usual, [one for one in unread if one["kind"] == "inference"])  # type: ignore[misc]
    health = look(tmp_path)
    assert health.log.lacking == {"no_summary": 10, "no_embedding": 10}
    told = {one.part: one.says for one in findings(health)}
    assert told["log"] == "items that lack something: no summary 10, no embedding 10"


def test_what_is_dated_after_now_is_told_and_not_looked_at(tmp_path: Path) -> None:
    log_of(
        tmp_path / "log",
        records(seen(200, seed=2), "users"),
        records(DARK, "dark", seconds_ago=-3600),
    )
    health = look(tmp_path)
    assert health.log.items == 200
    assert not drifted(health)
    told = next(one for one in findings(health) if one.part == "traffic")
    assert told.state is State.LOOK
    assert "records dated after now" in told.says
