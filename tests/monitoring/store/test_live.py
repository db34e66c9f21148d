"""Segments that are not in the store yet are read along with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.request_log import RequestLog, RequestLogConfig
from monitoring.segment import segments_in
from monitoring.store import Fault, LiveReport, LogStore
from monitoring.storing import views
from monitoring.storing.ledger import Ledger, read_ledger
from monitoring.storing.location import Location
from tests.monitoring.records import a_record, an_access_record
from tests.monitoring.store.logged import NOON_NS, ids, line, log_of, rows, segment_of

GOOD = line(a_record("good"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def store(tmp_path: Path, log: Path) -> LogStore:
    return LogStore(tmp_path / "store", log)


def test_a_record_is_there_as_soon_as_it_was_written(store: LogStore, log: Path) -> None:
    log_of(log, [a_record("compacted")], [an_access_record("compacted")])
    store.compact()
    log_of(log, [a_record("closed")])
    with RequestLog(RequestLogConfig(), directory=log) as open_log:
        open_log.write([a_record("open")])
        assert ids(store) == ["closed", "compacted", "open"]
        assert ids(store, "access") == ["compacted"]
        assert store.live() == LiveReport(segments=2, records=2)
        assert store.compact().records == 1
        assert ids(store) == ["closed", "compacted", "open"]
    assert ids(store) == ["closed", "compacted", "open"]


def test_nothing_needs_to_be_compacted(tmp_path: Path, log: Path) -> None:
    log_of(log, [a_record("r1"), a_record("r1", 1)])
    store = LogStore(tmp_path / "never", log)
    assert ids(store) == ["r1", "r1"]
    assert not (tmp_path / "never").exists()


def test_what_the_store_has_is_not_there_twice(store: LogStore, log: Path) -> None:
    path = segment_of(log, [GOOD, line(a_record("other"))], 0)
    store.compact()
    segment_of(log, [path.read_bytes(), line(a_record("new"))], 1)
    segment_of(log, [path.read_bytes(), line(a_record("new", timestamp_ns=NOON_NS))], 2)
    assert ids(store) == ["good", "new", "new", "other"]
    assert store.live() == LiveReport(segments=2, records=2, duplicates=4)


def test_an_unfinished_line_of_a_living_writer_is_no_damage(store: LogStore, log: Path) -> None:
    path = segment_of(log, [GOOD, b'{"schema":1,"kin']).rename(log / "host-1-1-000000.jsonl.open")
    assert ids(store) == ["good"]
    assert store.live() == LiveReport(segments=1, records=1)
    assert path.exists()


def test_damage_is_counted(store: LogStore, log: Path) -> None:
    segment_of(log, [b"what?\n", GOOD, b'{"schema":1,"kin'])
    found = {Fault.NOT_JSON: 1, Fault.TORN: 1}
    assert store.live() == LiveReport(segments=1, records=1, quarantined=found)
    assert ids(store) == ["good"]


@pytest.mark.parametrize("keep", [True, False])
def test_a_compaction_in_between_loses_and_doubles_nothing(
    store: LogStore, log: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    """The ledger is read, then somebody compacts, then the segments are read."""
    log_of(log, [a_record("r1")], [a_record("r2")])
    looks = 0

    def compacting_after_the_first_look(location: Location) -> Ledger:
        nonlocal looks
        looks += 1
        ledger = read_ledger(location)
        if looks == 1:
            assert LogStore(store.location, log).compact(keep_segments=keep).records == 2
        return ledger

    monkeypatch.setattr(views, "read_ledger", compacting_after_the_first_look)
    assert ids(store) == ["r1", "r2"]
    assert looks > 1


def test_columns_are_those_of_the_schema_and_the_time(store: LogStore, log: Path) -> None:
    log_of(log, [a_record("r1", timestamp_ns=NOON_NS + 123_456_789)])
    query = (
        "SELECT time::VARCHAR, date::VARCHAR, timestamp_ns, runtime_ms.total, prediction[1], "
        "screening.verdict, screening.heads['activation'], request_type.format, "
        "input_data_summary.mean[1], segments['country'] FROM inference"
    )
    moment = ("2026-01-31 12:00:00.123456", "2026-01-31", NOON_NS + 123_456_789)
    found = (*moment, 3.0, "7", "clean", 0.5, "png", None, None)
    assert rows(store, query) == [found]
    store.compact()
    assert rows(store, query) == [found]


def test_a_span_leaves_out_parts_that_lie_outside(store: LogStore, log: Path) -> None:
    for number in range(3):
        log_of(log, [a_record(f"r{number}", timestamp_ns=NOON_NS + number)])
        store.compact()
    assert len(segments_in(log)) == 3
    with store.connect(start_ns=NOON_NS + 1, end_ns=NOON_NS + 2) as connection:
        assert connection.execute("SELECT request_id FROM inference").fetchall() == [("r1",)]
