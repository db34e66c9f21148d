"""`torchkeep logs` as people type it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from monitoring.log_reader import read_records
from monitoring.record_check import check_record
from tests.monitoring.records import a_record, an_access_record
from tests.monitoring.store.logged import NOON_NS, log_of, segment_of
from torchkeep.cli.logs import logs
from torchkeep.errors import UserError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(logs, list(arguments), env={"COLUMNS": "100"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path))
    items = [a_record(f"r{number}", timestamp_ns=NOON_NS + number) for number in range(5)]
    log_of(tmp_path / "request-log", items, [an_access_record("r1", timestamp_ns=NOON_NS)])
    return tmp_path


def test_a_query_is_a_table_json_or_csv(home: Path) -> None:
    query = "SELECT request_id, prediction, runtime_ms.total AS ms FROM inference ORDER BY 1"
    table = run("query", query).splitlines()
    assert table[0].split() == ["request_id", "prediction", "ms"]
    assert table[1].split() == ["r0", "['7',", "'1']", "3"]
    assert len(table) == 6
    shown = run("query", query, "--rows", "2").splitlines()
    assert len(shown) == 4
    assert shown[-1] == "… and more: only the first 2 rows are shown"
    answer = json.loads(run("query", query, "--json"))
    assert answer["columns"] == ["request_id", "prediction", "ms"]
    assert answer["rows"][0] == ["r0", ["7", "1"], 3.0]
    lines = list(csv.reader(io.StringIO(run("query", query, "--csv"))))
    assert lines[0] == ["request_id", "prediction", "ms"]
    assert len(lines) == 6


def test_large_and_odd_values_are_printed(home: Path) -> None:
    query = "SELECT min(timestamp_ns)::HUGEINT * 1000 AS s, date, NULL AS n FROM inference"
    answer = json.loads(run("query", f"{query} GROUP BY ALL LIMIT 1", "--json"))
    assert answer["rows"][0][:2] == [str(NOON_NS * 1000), "2026-01-31"]
    query = "SELECT histogram(item) AS counts, [170141183460469231731687303715884105727] AS large"
    answer = json.loads(run("query", f"{query} FROM inference", "--json"))
    assert answer["rows"] == [[{"0": 5}, [str(2**127 - 1)]]]
    log_of(home / "request-log", [a_record("\x1b[31mred\x1b[0m\nnew line")])
    table = run("query", "SELECT request_id FROM inference")
    assert "\x1b" not in table
    assert len(table.splitlines()) == 7


def test_bad_queries_are_told(home: Path) -> None:
    with pytest.raises(UserError, match="Binder Error"):
        run("query", "SELECT nothing FROM inference")
    with pytest.raises(UserError, match="only one query that reads"):
        run("query", "DROP VIEW inference")
    with pytest.raises(UserError, match="--csv and --json exclude each other"):
        run("query", "SELECT 1", "--csv", "--json")


def test_compact_tells_what_became_of_the_lines(home: Path) -> None:
    segment_of(home / "request-log", [b"what?\n", orjson.dumps({**a_record("u"), "x": 1}) + b"\n"])
    report = json.loads(run("compact", "--json"))
    assert report["store"] == str(home / "log-store")
    assert report["records"] == 7
    assert report["quarantined"] == {"not JSON": 1}
    assert report["unknown_fields"] == {"x": 1}
    assert run("compact").startswith("0 segments, 0.0 MB: 0 records added to")
    copies = home / "request-log"
    for segment in list(copies.glob("*.jsonl")):
        (copies / f"copy-{segment.name}").write_bytes(segment.read_bytes())
    text = run("compact", "--remove-segments")
    assert "7 records were there already, and left out" in text
    assert "1 × not JSON: set aside" in text
    assert "1 × unknown field x: not kept" in text


def test_where_the_store_lies_is_a_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHKEEP_MONITORING_STORE", "elsewhere")
    monkeypatch.setenv("TORCHKEEP_MONITORING_KEEP_SEGMENTS", "false")
    assert json.loads(run("compact", "--json"))["store"] == str(home / "elsewhere")
    assert list((home / "request-log").iterdir()) == []
    assert json.loads(run("compact", "--json", "--store", str(home / "third")))["records"] == 0
    answer = json.loads(run("query", "SELECT count(*) FROM inference", "--json"))
    assert answer["rows"] == [[5]]


def test_many_columns_are_printed_one_below_the_other(home: Path) -> None:
    lines = [line.split() for line in run("query", "FROM inference", "--rows", "2").splitlines()]
    assert lines.count(["model", "digits"]) == 2
    assert ["request_id", "r1"] in lines
    assert ["client", "-"] in lines


def test_export_to_parquet_keeps_all_columns(home: Path) -> None:
    assert run("export", "--output", "items.parquet") == "5 records in items.parquet\n"
    table = pq.read_table("items.parquet")
    assert table.column("request_id").to_pylist() == [f"r{number}" for number in range(5)]
    assert table.column("runtime_ms").to_pylist()[0] == a_record()["runtime_ms"]
    assert Path("items.parquet").stat().st_mode & 0o777 == 0o600


def test_export_to_csv_is_flat(home: Path) -> None:
    run("export", "--format", "csv", "--output", "items.csv", "--since", "2026-01-31")
    rows = list(csv.DictReader(Path("items.csv").read_text().splitlines()))
    assert rows[4]["request_id"] == "r4"
    assert rows[4]["runtime_ms.total"] == "3"
    assert json.loads(rows[4]["screening.heads"]) == {"activation": 0.5}
    assert json.loads(rows[4]["prediction"]) == ["7", "1"]


def test_export_to_json_lines_is_a_log_again(home: Path) -> None:
    log = home / "again" / "host-1-1-000000.jsonl"
    log.parent.mkdir()
    told = json.loads(run("export", "--format", "jsonl", "--output", str(log), "--json"))
    assert told == {"output": str(log), "records": 5}
    records = list(read_records(log.parent))
    assert records[0] == a_record("r0", timestamp_ns=NOON_NS)
    assert [check_record(record) for record in records] == [[]] * 5


def test_export_chooses(home: Path) -> None:
    access = ("--kind", "access", "--format", "jsonl", "--output", "x")
    assert run("export", *access) == "1 records in x\n"
    assert run("export", *access, "--model", "other") == "0 records in x\n"
    assert run("export", *access, "--until", "2026-01-31T12:00:00") == "0 records in x\n"
    assert run("export", *access, "--version", "1.0") == "1 records in x\n"


def test_an_export_that_fails_leaves_what_was_there(home: Path) -> None:
    Path("kept.csv").write_text("old")
    with pytest.raises(UserError, match=r"--format is 'xml'. Choose from: parquet, csv, jsonl"):
        run("export", "--format", "xml", "--output", "kept.csv")
    with pytest.raises(UserError, match="--kind is 'log'"):
        run("export", "--kind", "log", "--output", "kept.csv")
    with pytest.raises(UserError, match="'later' is no time"):
        run("export", "--since", "later", "--output", "kept.csv")
    with pytest.raises(UserError, match="cannot be written: No such file"):
        run("export", "--output", "missing/items.parquet")
    Path("folder").mkdir()
    with pytest.raises(UserError, match="folder cannot be written: Is a directory"):
        run("export", "--output", "folder")
    assert Path("kept.csv").read_text() == "old"
    assert sorted(path.name for path in home.iterdir()) == ["folder", "kept.csv", "request-log"]


def test_tail_is_the_log_verb(home: Path) -> None:
    assert len(run("tail", "--last", "2").splitlines()) == 3
    assert json.loads(run("tail", "--json", "--last", "1"))["records"][0]["request_id"] == "r4"
