"""Section `[monitoring]`, and where a store may lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.config import MonitoringConfig
from monitoring.store import LogStore
from tests.monitoring.records import a_record
from tests.monitoring.store.logged import ids, log_of
from torchkeep.errors import SettingsError, UserError
from torchkeep.paths import Home


@pytest.mark.parametrize(
    ("store", "place"),
    [
        ("", "/home/log-store"),
        ("parquet", "/home/parquet"),
        ("/data/logs", "/data/logs"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
    ],
)
def test_the_store_lies_in_the_home_unless_told(store: str, place: str) -> None:
    assert MonitoringConfig(store=store).location(Home(Path("/home"))) == place


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(SettingsError, match=r"\[monitoring\] store is 'gs://bucket'"):
        MonitoringConfig(store="gs://bucket")
    with pytest.raises(SettingsError, match=r"\[monitoring\] s3_endpoint is 'localhost:9000'"):
        MonitoringConfig(s3_endpoint="localhost:9000")


def test_places_that_are_none() -> None:
    with pytest.raises(UserError, match=r"cannot lie at gs://bucket. Give a folder or s3"):
        LogStore("gs://bucket")
    with pytest.raises(UserError, match="credentials belong into the environment") as told:
        LogStore("s3://key:secret@bucket/prefix")
    assert "secret" not in str(told.value).replace("credentials", "")


def test_a_file_is_no_store(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match=r"file is no folder. Give a folder"):
        LogStore(file)
    store = LogStore(file / "below", log_of(tmp_path / "log", [a_record("r1")]))
    with pytest.raises(UserError, match=r"cannot be written: Not a directory. Name another folder"):
        store.compact()


def test_a_store_may_be_named_by_a_way_around(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", [a_record("r1")])
    (tmp_path / "link").symlink_to(tmp_path)
    around = LogStore(tmp_path / "link" / "log" / ".." / "store", log)
    assert around.compact().records == 1
    assert ids(around) == ids(LogStore(tmp_path / "store", log)) == ["r1"]


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no"])
def test_a_part_that_is_gone_or_damaged_is_told(tmp_path: Path, content: bytes | None) -> None:
    time_ns = a_record()["timestamp_ns"]
    record = a_record("r1", timestamp_ns=time_ns)
    store = LogStore(tmp_path / "store", log_of(tmp_path / "log", [record]))
    store.compact()
    (part,) = (tmp_path / "store").rglob("*.parquet")
    part.unlink()
    if content is not None:
        part.write_bytes(content)
    told = rf"{part.name}.* Restore the file"
    with pytest.raises(UserError, match=told):
        store.connect()
    log_of(tmp_path / "log", [a_record("r1", timestamp_ns=time_ns)])
    with pytest.raises(UserError, match=told):
        store.connect()
    with pytest.raises(UserError, match=told):
        store.compact()


def test_a_damaged_ledger_is_told_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    entry = tmp_path / "ledger" / "1.json"
    entry.write_text("{")
    with pytest.raises(UserError, match=r"ledger/1.json is damaged: .* Restore it"):
        LogStore(tmp_path).connect()
    entry.write_text('{"version":9,"commit":"1","segments":{},"parts":[],"quarantined":{}}')
    with pytest.raises(UserError, match="is of version 9, this reads 1"):
        LogStore(tmp_path).connect()
