"""Two compactions at once: a folder takes one; elsewhere both write, and no record is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from monitoring.store import LogStore
from monitoring.storing.ledger import read_ledger
from monitoring.storing.location import locate
from tests.monitoring.records import a_record, an_access_record
from tests.monitoring.store.logged import NOON_NS, ids, log_of
from torchkeep.errors import UserError


def test_a_second_compaction_of_a_folder_is_told(tmp_path: Path) -> None:
    store = LogStore(tmp_path / "store", log_of(tmp_path / "log", [a_record("r1")]))
    with (
        locate(tmp_path / "store").locked(),
        pytest.raises(UserError, match=r"another process is compacting into .*Wait until it has"),
    ):
        store.compact()
    assert store.compact().records == 1


def test_two_logs_are_compacted_into_one_partition(tmp_path: Path) -> None:
    one = log_of(tmp_path / "one", [a_record("r1", timestamp_ns=NOON_NS)])
    two = log_of(tmp_path / "two", [a_record("r2", timestamp_ns=NOON_NS)])
    LogStore(tmp_path / "store", one).compact()
    LogStore(tmp_path / "store", two).compact()
    store = LogStore(tmp_path / "store")
    assert ids(store) == ["r1", "r2"]
    assert store.summary().partitions == {"kind=inference/model=digits/date=2026-01-31": 2}
    assert store.summary().parts == 2


def both_took_them(tmp_path: Path, *, more: bool) -> LogStore:
    """A store into which two compactions, without a lock, wrote the same segments at once."""
    log = log_of(tmp_path / "log", [a_record("r1")], [a_record("r2")], [an_access_record("r1")])
    first, second = LogStore(tmp_path / "store", log), LogStore(tmp_path / "other", log)
    first.compact()
    if more:
        log_of(log, [a_record("r3")])
    second.compact()
    shutil.copytree(tmp_path / "other", tmp_path / "store", dirs_exist_ok=True)
    return first


def test_what_both_took_counts_once(tmp_path: Path) -> None:
    store = both_took_them(tmp_path, more=False)
    ledger = read_ledger(locate(tmp_path / "store"))
    assert (len(ledger.entries), len(ledger.ignored), ledger.has_overlaps) == (1, 1, False)
    assert ids(store) == ["r1", "r2"]
    assert ids(store, "access") == ["r1"]
    assert store.summary().records == 3


def test_what_both_took_in_part_is_put_right_by_the_next(tmp_path: Path) -> None:
    store = both_took_them(tmp_path, more=True)
    location = locate(tmp_path / "store")
    assert read_ledger(location).has_overlaps
    assert ids(store) == ["r1", "r2", "r3"]
    assert ids(store, "access") == ["r1"]
    assert store.compact().records == 0
    assert not read_ledger(location).has_overlaps
    assert store.summary().records == 4
    assert ids(store) == ["r1", "r2", "r3"]
    assert ids(store, "access") == ["r1"]
