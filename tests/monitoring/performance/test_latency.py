from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitoring.latency import Stage, latency, latency_by_hour
from tests.monitoring.performance.log import logged
from tests.monitoring.records import a_record, an_access_record

HOUR_NS = 3600 * 10**9
START_NS = 500_000 * HOUR_NS


def requests(count: int, seed: int) -> list[Any]:
    random = np.random.default_rng(seed)
    queue, backend, total = random.exponential([[1.0], [5.0], [7.0]], (3, count))
    return [
        an_access_record(
            f"r{k}",
            timestamp_ns=START_NS + k % 3 * HOUR_NS + k,
            model_version=("1.0", "1.1")[k % 2],
            protocol=("rest", "grpc")[k // 2 % 2],
            queue_ms=queue[k],
            backend_ms=backend[k],
            total_ms=total[k],
        )
        for k in range(count)
    ]


def test_percentiles_by_hour_version_and_protocol_are_numpys(tmp_path: Path) -> None:
    records = requests(400, 1)
    with logged(tmp_path, access=records) as connection:
        report = latency(connection, model="digits")
    assert len(report.by_hour) == 3 * 2 * 2
    for row in report.by_hour:
        own = [
            record["total_ms"]
            for record in records
            if record["timestamp_ns"] // HOUR_NS * HOUR_NS == row.hour_ns
            and (record["model_version"], record["protocol"]) == (row.version, row.protocol)
        ]
        found = row.stages[Stage.TOTAL]
        assert found.count == len(own)
        expected = np.quantile(own, [0.5, 0.95, 0.99])
        assert [found.p50, found.p95, found.p99] == pytest.approx(expected.tolist())
        assert found.largest == max(own)
    overall = report.overall[Stage.QUEUE]
    every = [record["queue_ms"] for record in records]
    assert overall.count == 400
    assert overall.p99 == pytest.approx(float(np.quantile(every, 0.99)))


def test_the_time_in_the_worker_comes_from_the_items(tmp_path: Path) -> None:
    times = {"decode": 1.0, "screen_predict": 20.0, "total": 22.0}
    records = [a_record(f"r{k}", timestamp_ns=START_NS, runtime_ms=times) for k in range(3)]
    with logged(tmp_path, inference=records) as connection:
        (row,) = latency_by_hour(connection, model="digits")
    assert {stage: one.p50 for stage, one in row.stages.items()} == {
        Stage.DECODE: 1.0,
        Stage.SCREEN_PREDICT: 20.0,
        Stage.HANDLER: 22.0,
    }


def test_other_models_and_times_are_left_out(tmp_path: Path) -> None:
    records = [
        an_access_record("a", timestamp_ns=START_NS, total_ms=1.0),
        an_access_record("b", timestamp_ns=START_NS + 10, total_ms=2.0),
        an_access_record("c", timestamp_ns=START_NS + 20, total_ms=3.0),
        an_access_record("d", timestamp_ns=START_NS + 10, model="other"),
    ]
    with logged(tmp_path, access=records) as connection:
        report = latency(connection, model="digits", start_ns=START_NS + 10, end_ns=START_NS + 20)
    assert report.overall[Stage.TOTAL].count == 1
    assert report.overall[Stage.TOTAL].p50 == 2.0


def test_explanations_are_no_predictions(tmp_path: Path) -> None:
    kind = a_record()["request_type"] | {"operation": "explain"}
    with logged(
        tmp_path,
        access=[an_access_record("a"), an_access_record("b", operation="explain")],
        inference=[a_record("a"), a_record("b", request_type=kind)],
    ) as connection:
        report = latency(connection, model="digits")
    assert {stage.count for stage in report.overall.values()} == {1}


def test_requests_refused_at_the_door_do_not_make_times_look_good(tmp_path: Path) -> None:
    refused = {"queue_ms": 0.0, "backend_ms": 0.0, "batch_size": 0, "total_ms": 0.01}
    expired = {"queue_ms": 900.0, "backend_ms": 0.0, "batch_size": 0, "total_ms": 901.0}
    records = [
        an_access_record("a", total_ms=30.0),
        an_access_record("b", http_status=429, code="RESOURCE_EXHAUSTED", **refused),
        an_access_record("c", http_status=504, code="DEADLINE_EXCEEDED", **expired),
    ]
    with logged(tmp_path, access=records) as connection:
        report = latency(connection, model="digits")
    assert report.overall[Stage.TOTAL].count == 2
    assert report.overall[Stage.TOTAL].largest == 901.0


def test_times_that_cannot_be_are_counted_and_left_out(tmp_path: Path) -> None:
    bad = {"decode": -1.0, "screen_predict": 1.0, "total": 1.0}
    with logged(
        tmp_path,
        access=[an_access_record("a"), an_access_record("b", total_ms=-5.0)],
        inference=[a_record("a"), a_record("b", runtime_ms=bad)],
    ) as connection:
        report = latency(connection, model="digits")
    assert report.implausible == 2
    assert report.overall[Stage.TOTAL].count == 1
    assert report.overall[Stage.DECODE].count == 1


def test_an_empty_log_has_no_percentiles(tmp_path: Path) -> None:
    with logged(tmp_path) as connection:
        report = latency(connection, model="digits")
    assert (report.overall, report.by_hour, report.implausible) == ({}, (), 0)
