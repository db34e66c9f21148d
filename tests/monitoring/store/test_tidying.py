"""A store that is compacted often stays a few files, and readers notice nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.store import LogStore
from monitoring.storing import tidying
from monitoring.storing.ledger import read_ledger
from monitoring.storing.location import locate
from tests.monitoring.records import a_record, an_access_record
from tests.monitoring.store.logged import NOON_NS, ids, line, log_of, segment_of

TIMES = 8


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogStore:
    monkeypatch.setattr(tidying, "MOST_ENTRIES", 4)
    return LogStore(tmp_path / "store", tmp_path / "log")


def compact_often(store: LogStore, log: Path) -> list[str]:
    names = []
    for number in range(TIMES):
        name, time_ns = f"r{number}", NOON_NS + number
        batch = [line(a_record(name, timestamp_ns=time_ns)), b"what?\n"]
        segment_of(log, [*batch, line(an_access_record(name, timestamp_ns=time_ns))], number)
        assert store.compact().records == 2
        names.append(name)
    return names


def test_small_parts_and_entries_become_one(tmp_path: Path, store: LogStore) -> None:
    names = compact_often(store, tmp_path / "log")
    assert ids(store) == ids(store, "access") == names
    summary = store.summary()
    assert (summary.segments, summary.records) == (TIMES, 2 * TIMES)
    assert summary.quarantined == {"not JSON": TIMES}
    assert summary.parts < 2 * TIMES
    ledger = tmp_path / "store" / "ledger"
    assert len(list(ledger.iterdir())) < TIMES
    assert len(list((tmp_path / "store" / "quarantine").iterdir())) == TIMES
    assert store.compact().records == 0


def test_a_reader_that_began_before_goes_on(tmp_path: Path, store: LogStore) -> None:
    log_of(tmp_path / "log", [a_record("r")])
    store.compact()
    with store.connect() as connection:
        compact_often(store, tmp_path / "log")
        assert connection.execute("SELECT request_id FROM inference").fetchall() == [("r",)]


def test_retired_parts_go_once_nobody_reads_them(
    tmp_path: Path, store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = compact_often(store, tmp_path / "log")
    assert len(list((tmp_path / "store").rglob("*.parquet"))) > store.summary().parts
    monkeypatch.setattr(tidying, "GRACE_S", 0.0)
    assert store.compact().orphans_removed > 0
    assert len(list((tmp_path / "store").rglob("*.parquet"))) == store.summary().parts
    assert ids(store) == names


def test_full_parts_stay_as_they_are(
    tmp_path: Path, store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "FULL_ROWS", 1)
    names = compact_often(store, tmp_path / "log")
    assert store.summary().parts == 2 * TIMES
    assert ids(store) == names
    assert len(read_ledger(locate(tmp_path / "store")).entries) < TIMES


def test_an_entry_that_was_not_removed_does_not_count(tmp_path: Path, store: LogStore) -> None:
    """As if the process was killed between the new entry and the removal of the old ones."""
    log = tmp_path / "log"
    ledger = tmp_path / "store" / "ledger"
    for number in range(4):
        log_of(log, [a_record(f"r{number}")])
        store.compact()
    old = {path.name: path.read_bytes() for path in ledger.iterdir()}
    log_of(log, [a_record("r4")])
    store.compact()
    assert len(list(ledger.iterdir())) == 1
    for name, content in old.items():
        (ledger / name).write_bytes(content)
    assert ids(store) == ["r0", "r1", "r2", "r3", "r4"]
    assert store.summary().records == 5
