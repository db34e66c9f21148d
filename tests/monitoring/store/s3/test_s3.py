"""The same store in S3-compatible object storage, against a real local server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from monitoring.segment import segments_in
from monitoring.store import LogStore, S3Options
from monitoring.storing import tidying
from monitoring.storing.ledger import read_ledger
from monitoring.storing.location import locate
from tests.monitoring.records import a_record, an_access_record
from tests.monitoring.store.logged import NOON_NS, ids, line, log_of, rows, segment_of
from tests.monitoring.store.s3.server import s3_server
from torchkeep.cli.logs import logs
from torchkeep.errors import UserError

SECRET = "hunter2hunter2"  # noqa: S105 - of a server that lives as long as this test


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with s3_server(port) as address:
        yield address


@pytest.fixture
def options(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Options:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()
    httpx.put(f"{endpoint}/bucket").raise_for_status()
    return S3Options(endpoint, "eu-central-1")


@pytest.fixture
def store(tmp_path: Path, options: S3Options) -> LogStore:
    return LogStore("s3://bucket/a prefix/logs", tmp_path / "log", options=options)


def test_compacted_and_read_along_with_the_live_log(tmp_path: Path, store: LogStore) -> None:
    log = tmp_path / "log"
    items = [a_record("r1", timestamp_ns=NOON_NS), a_record("r2", model="a/b =ü")]
    log_of(log, items, [an_access_record("r1")])
    segment_of(log, [b"what?\n"])
    report = store.compact(keep_segments=False)
    assert (report.records, report.quarantined) == (3, {"not JSON": 1})
    assert len(segments_in(log)) == 1  # what holds a fault stays
    log_of(log, [a_record("live"), *items])
    assert ids(store) == ["live", "r1", "r2"]
    query = (
        "SELECT model, date::VARCHAR, runtime_ms.total, screening.heads['activation'], "
        "prediction FROM inference WHERE request_id = 'r1' AND time < '2026-02-01'"
    )
    assert rows(store, query) == [("digits", "2026-01-31", 3.0, 0.5, ["7", "1"])]
    again = store.compact()
    assert (again.records, again.duplicates) == (1, 2)
    assert ids(store) == ["live", "r1", "r2"]
    assert store.summary().records == 4
    assert store.summary().bytes > 0


def test_two_compactions_at_once_lose_and_double_nothing(
    tmp_path: Path, store: LogStore, options: S3Options
) -> None:
    """Each has read the ledger before the other wrote to it: object storage has no locks."""
    log = log_of(tmp_path / "log", [a_record("r1")], [a_record("r2")])
    store.compact()
    location = locate(store.location, options)
    (mine,) = location.files("ledger")
    entry = location.read(mine)
    location.remove(mine)
    log_of(log, [a_record("r3")])
    LogStore(store.location, log, options=options).compact()
    location.write(mine, entry)
    assert read_ledger(location).has_overlaps
    assert ids(store) == ["r1", "r2", "r3"]
    store.compact()
    assert not read_ledger(location).has_overlaps
    assert ids(store) == ["r1", "r2", "r3"]
    assert store.summary().records == 3


def test_what_fails_while_it_is_written_is_not_there(store: LogStore, options: S3Options) -> None:
    location = locate(store.location, options)

    def fail_half_way() -> None:
        with location.writing("ledger/half.json") as stream:
            stream.write(b"x" * 20_000_000)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert location.files("") == []
    with pytest.raises(FileNotFoundError):
        location.read("ledger/half.json")


def test_small_parts_become_one(
    tmp_path: Path, store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "MOST_ENTRIES", 2)
    for number in range(4):
        segment_of(tmp_path / "log", [line(a_record(f"r{number}"))], number)
        store.compact()
    assert store.summary().parts < 4
    assert ids(store) == ["r0", "r1", "r2", "r3"]


def test_what_is_wrong_is_told_without_secrets(
    tmp_path: Path, store: LogStore, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_of(tmp_path / "log", [a_record("r1")])
    options = S3Options(endpoint, "eu-central-1")
    with pytest.raises(UserError, match="there is no bucket 'missing'"):
        LogStore("s3://missing/logs", log, options=options).connect()
    with pytest.raises(UserError, match="there is no bucket 'missing'"):
        LogStore("s3://missing/logs", log, options=options).compact()
    nobody = S3Options("http://127.0.0.1:9", "eu-central-1")
    with pytest.raises(
        UserError, match=r"log store s3://bucket/logs: .* Look at the bucket"
    ) as told:
        LogStore("s3://bucket/logs", log, options=nobody).connect()
    assert "\n" not in str(told.value)
    assert SECRET not in str(told.value)


def test_the_command_takes_it_from_the_settings(
    tmp_path: Path, options: S3Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHKEEP_MONITORING_STORE", "s3://bucket/by/settings")
    monkeypatch.setenv("TORCHKEEP_MONITORING_S3_ENDPOINT", options.endpoint)
    monkeypatch.setenv("TORCHKEEP_MONITORING_S3_REGION", "eu-central-1")
    log_of(tmp_path / "request-log", [a_record("r1")])
    compacted = CliRunner().invoke(logs, ["compact", "--remove-segments", "--json"])
    assert json.loads(compacted.stdout)["records"] == 1
    query = ["query", "SELECT request_id FROM inference", "--json"]
    assert json.loads(CliRunner().invoke(logs, query).stdout)["rows"] == [["r1"]]
    assert SECRET not in compacted.output
