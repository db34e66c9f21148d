"""Parts that an older version wrote lack some columns: those read as NULL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from monitoring.store import LogStore
from monitoring.storing import columns, parts, rounds, tidying
from monitoring.storing.record_types import arrow_schema
from tests.monitoring.records import a_record
from tests.monitoring.store.logged import ids, log_of, rows

YOUNGER = ("trace_id", "segments")


def old_schema(kind: str) -> pa.Schema:
    """Before there were traces, segments, screening policies and numbers of single precision."""
    fields = []
    for field in arrow_schema(kind):
        if field.name == "screening":
            field = field.with_type(pa.struct([one for one in field.type if one.name != "policy"]))
        if field.name not in YOUNGER:
            fields.append(field)
    return pa.schema(fields)


@pytest.fixture
def by_an_older_version(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    parts.columns_digest.cache_clear()
    with monkeypatch.context() as patch:
        for module in (columns, parts):
            patch.setattr(module, "arrow_schema", old_schema)
        yield patch
    parts.columns_digest.cache_clear()


@pytest.fixture
def store(tmp_path: Path, by_an_older_version: pytest.MonkeyPatch) -> LogStore:
    store = LogStore(tmp_path / "store", tmp_path / "log")
    traced: Any = {"trace_id": "t1", "segments": {"country": "ch"}}
    log_of(tmp_path / "log", [a_record("old", **traced)])
    assert store.compact().records == 1
    by_an_older_version.undo()
    parts.columns_digest.cache_clear()
    return store


def test_old_and_new_are_read_together(tmp_path: Path, store: LogStore) -> None:
    traced: Any = {"trace_id": "t2", "segments": {"country": "at"}}
    query = (
        "SELECT request_id, trace_id, segments['country'], screening.verdict, screening.policy "
        "FROM inference ORDER BY request_id DESC"
    )
    old = ("old", None, None, "clean", None)
    assert rows(store, query) == [old]
    log_of(tmp_path / "log", [a_record("new", **traced)])
    new = ("new", "t2", "at", "clean", "flag")
    assert rows(store, query) == [old, new]
    assert store.compact().records == 1
    assert rows(store, query) == [old, new]


def test_a_copy_of_an_old_record_is_known(tmp_path: Path, store: LogStore) -> None:
    (segment,) = (tmp_path / "log").iterdir()
    (tmp_path / "log" / f"copy-{segment.name}").write_bytes(segment.read_bytes())
    assert store.compact().duplicates == 1
    assert ids(store) == ["old"]


def test_old_parts_stay_as_they_are(
    tmp_path: Path, store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "MOST_ENTRIES", 1)
    for name in ("new-1", "new-2"):
        log_of(tmp_path / "log", [a_record(name)])
        store.compact()
    assert store.summary().parts == 2
    assert ids(store) == ["new-1", "new-2", "old"]
    assert rounds.write_parts is parts.write_parts
