from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.time_span import span_of
from monitoring.traffic import concurrency, traffic
from tests.monitoring.performance.log import logged
from tests.monitoring.records import a_record, an_access_record

SECOND_NS = 10**9
START_NS = 1_800_000_000 * SECOND_NS
NOW_NS = START_NS + 3600 * SECOND_NS


def at(second: float) -> int:
    return START_NS + int(second * SECOND_NS)


def screened(verdict: str) -> dict[str, Any]:
    screening = a_record()["screening"]
    assert screening is not None
    return {**screening, "verdict": verdict}


def test_what_came_and_what_became_of_it(tmp_path: Path) -> None:
    access = [
        an_access_record("a", timestamp_ns=at(0)),
        an_access_record("b", timestamp_ns=at(1), code="UNAVAILABLE", http_status=503),
        an_access_record("c", timestamp_ns=at(61), code="RESOURCE_EXHAUSTED", http_status=429),
        an_access_record("d", timestamp_ns=at(62), dropped_before=4),
        an_access_record("e", timestamp_ns=at(62), model="other", dropped_before=1),
        an_access_record("f", timestamp_ns=at(62), model="", code="UNAUTHENTICATED"),
    ]
    inference = [
        a_record("a", 0, timestamp_ns=at(0)),
        a_record("a", 1, timestamp_ns=at(0), screening=screened("suspicious")),
        a_record("d", 0, timestamp_ns=at(100), screening=screened("failed"), status="rejected"),
        a_record("d", 1, timestamp_ns=at(100), screening=None, status="bad_input"),
    ]
    with logged(tmp_path, access=access, inference=inference) as connection:
        found = traffic(connection, model="digits", now_ns=NOW_NS)
    assert (found.requests, found.items, found.unattributed) == (4, 4, 1)
    assert found.span_s == 100.0
    assert (found.requests_per_s, found.items_per_s) == (0.04, 0.04)
    assert found.busiest_minute == 2
    assert found.codes == {"OK": 2, "RESOURCE_EXHAUSTED": 1, "UNAVAILABLE": 1}
    assert (found.errors, found.error_share, found.refused_share) == (1, 0.25, 0.25)
    assert found.statuses == {"bad_input": 1, "ok": 2, "rejected": 1}
    assert found.verdicts == {"clean": 1, "failed": 1, "suspicious": 1}
    assert found.suspicious_share == pytest.approx(2 / 3)
    assert found.rejected_share == 0.25
    assert (found.lost, found.future) == (5, 0)


def test_nothing_has_no_rates(tmp_path: Path) -> None:
    with logged(tmp_path) as connection:
        found = traffic(connection, model="digits", now_ns=NOW_NS)
    shares = (found.error_share, found.refused_share, found.suspicious_share, found.rejected_share)
    assert shares == (None, None, None, None)
    assert (found.requests_per_s, found.items_per_s, found.concurrency) == (None, None, None)
    assert (found.requests, found.items, found.busiest_minute, found.lost) == (0, 0, 0, 0)


def test_records_from_the_future_are_counted_and_left_out(tmp_path: Path) -> None:
    access = [
        an_access_record("a", timestamp_ns=at(0)),
        an_access_record("b", timestamp_ns=NOW_NS + SECOND_NS),  # clocks may differ a little
        an_access_record("c", timestamp_ns=NOW_NS + 86_400 * SECOND_NS),
    ]
    with logged(tmp_path, access=access) as connection:
        found = traffic(connection, model="digits", now_ns=NOW_NS)
        bounded = traffic(connection, model="digits", now_ns=NOW_NS, end_ns=at(10))
    assert (found.requests, found.future) == (2, 1)
    assert found.span_s == 3601.0
    assert (bounded.requests, bounded.future) == (1, 0)


TIMES = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=25)


@given(times=TIMES)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_concurrency_is_what_a_count_at_each_moment_says(times: list[tuple[int, int]]) -> None:
    ends = [START_NS + (begin + length) * 1_000_000 for begin, length in times]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE access (model TEXT, timestamp_ns BIGINT, total_ms DOUBLE)")
        connection.executemany(
            "INSERT INTO access VALUES ('digits', ?, ?)",
            [(end, float(length)) for end, (_, length) in zip(ends, times, strict=True)],
        )
        found = concurrency(connection, span_of("digits", None, None))
    under_way = np.zeros(80, dtype=int)
    for begin, length in times:
        under_way[begin : begin + length] += 1
    assert found is not None
    assert found.largest == under_way.max()
    first, last = min(b for b, _ in times), max(b + length for b, length in times)
    assert found.mean == pytest.approx(under_way.sum() / (last - first))
