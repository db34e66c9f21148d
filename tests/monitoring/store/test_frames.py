"""DataFrames for notebooks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest

from monitoring import logs
from monitoring.store import LogStore
from tests.monitoring.records import a_record, an_access_record
from tests.monitoring.store.logged import DAY_NS, NOON_NS, log_of
from torchkeep.errors import UserError
from torchkeep.paths import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path))
    items = [
        a_record(f"r{day}", timestamp_ns=NOON_NS + day * DAY_NS, model_version=f"{day}.0")
        for day in range(4)
    ]
    log_of(tmp_path / "request-log", items[:2])
    LogStore.from_settings().compact()
    log_of(tmp_path / "request-log", items[2:], [an_access_record("r1", timestamp_ns=NOON_NS)])
    return tmp_path


def test_items_are_rows_with_flat_columns(home: Path) -> None:
    frame = logs.items()
    assert list(frame["request_id"]) == ["r0", "r1", "r2", "r3"]
    first = frame.iloc[0]
    assert first["time"] == pd.Timestamp("2026-01-31 12:00:00")
    assert first["runtime_ms.total"] == 3.0
    assert first["screening.verdict"] == "clean"
    assert list(first["probability"]) == [0.75, 0.25]
    assert first["screening.heads"] == {"activation": 0.5}
    assert frame["timestamp_ns"].dtype == "int64"


def test_requests_are_rows(home: Path) -> None:
    frame = logs.requests(Home(home))
    assert frame[["request_id", "total_ms", "code"]].to_numpy().tolist() == [["r1", 4.25, "OK"]]


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ({"model": "digits"}, ["r0", "r1", "r2", "r3"]),
        ({"model": "mnist"}, []),
        ({"version": "2.0"}, ["r2"]),
        ({"since": "2026-02-01"}, ["r1", "r2", "r3"]),
        ({"since": "2026-02-01T12:00:00"}, ["r1", "r2", "r3"]),
        ({"since": "2026-02-01T12:00:00-01:00"}, ["r2", "r3"]),
        ({"since": "2026-02-01T12:00:00.000001Z"}, ["r2", "r3"]),
        ({"until": datetime(2026, 2, 1, 12, tzinfo=UTC)}, ["r0"]),
        ({"until": datetime(2026, 2, 1, 12, tzinfo=timezone(timedelta(hours=-1)))}, ["r0", "r1"]),
        ({"since": "2026-02-01", "until": "2026-02-02"}, ["r1"]),
        ({"limit": 2}, ["r2", "r3"]),
        ({"limit": 0}, []),
        ({"limit": 1, "until": "2026-02-02"}, ["r1"]),
    ],
)
def test_limits(home: Path, limits: dict[str, object], found: list[str]) -> None:
    assert list(logs.items(home, **limits)["request_id"]) == found  # type: ignore[arg-type]


def test_sql_answers_with_a_frame(home: Path) -> None:
    frame = logs.sql("SELECT date, count(*) AS n FROM inference GROUP BY date ORDER BY date", home)
    assert list(frame["n"]) == [1, 1, 1, 1]
    with pytest.raises(UserError, match="only one query that reads"):
        logs.sql("DROP VIEW inference", home)


def test_what_is_no_time_is_told(home: Path) -> None:
    with pytest.raises(UserError, match=r"'yesterday' is no time. Write 2026-01-31"):
        logs.items(since="yesterday")


def test_an_empty_home_has_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(logs.items(tmp_path / "nothing")) == 0
    assert "total_ms" in logs.requests(tmp_path / "nothing")
