"""Segments become parts: each record once, each other line counted and kept aside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from monitoring.segment import segments_in
from monitoring.store import CompactionReport, Fault, LogStore
from monitoring.storing import compaction, lines
from monitoring.storing.lines import Block, decode_block
from monitoring.storing.quarantine import Quarantine
from monitoring.storing.report import Tally
from tests.monitoring.records import a_record, an_access_record
from tests.monitoring.store.logged import DAY_NS, NOON_NS, ids, line, log_of, rows, segment_of
from torchkeep.errors import UserError

ROOT = Path(__file__).parents[3]
GOOD = line(a_record("good"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def store(tmp_path: Path, log: Path) -> LogStore:
    return LogStore(tmp_path / "store", log)


def test_records_lie_in_folders_of_kind_model_and_date(tmp_path: Path, log: Path) -> None:
    store = LogStore(tmp_path / "store", log)
    items = [
        a_record("r1", timestamp_ns=NOON_NS),
        a_record("r2", timestamp_ns=NOON_NS + DAY_NS, model="a/b =ü"),
    ]
    log_of(log, items, [an_access_record("r1", timestamp_ns=NOON_NS)])
    report = store.compact()
    assert (report.segments, report.records, report.duplicates) == (2, 3, 0)
    assert report.partitions == {
        "kind=inference/model=digits/date=2026-01-31": 1,
        "kind=inference/model=a%2Fb%20%3D%C3%BC/date=2026-02-01": 1,
        "kind=access/model=digits/date=2026-01-31": 1,
    }
    files = list((tmp_path / "store").rglob("*.parquet"))
    assert {str(file.parent.relative_to(tmp_path / "store")) for file in files} == set(
        report.partitions
    )
    metadata = pq.read_metadata(files[0]).row_group(0).column(2)
    assert metadata.compression == "ZSTD"
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert ids(store) == ["r1", "r2"]
    assert store.summary().partitions == report.partitions


def test_a_model_with_a_very_long_name_has_a_folder_too(store: LogStore, log: Path) -> None:
    names = ["é" * 300 + end for end in ("a", "b")]
    log_of(log, [a_record(f"r{number}", model=name) for number, name in enumerate(names)])
    assert len(store.compact().partitions) == 2
    assert rows(store, "SELECT DISTINCT model FROM inference ORDER BY 1") == [(n,) for n in names]


def test_files_of_somebody_else_stay(tmp_path: Path, store: LogStore, log: Path) -> None:
    theirs = [
        tmp_path / "store" / name
        for name in ("kind=mine/x.csv", "quarantine/mail.eml", ".tmp-notes", "quarantine/.tmp-mine")
    ]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    log_of(log, [a_record("r1")])
    assert store.compact().orphans_removed == 0
    assert all(path.exists() for path in theirs)


def test_a_segment_is_taken_once(store: LogStore, log: Path) -> None:
    log_of(log, [a_record("r1")])
    assert store.compact().records == 1
    assert store.compact() == CompactionReport()
    log_of(log, [a_record("r2")])
    assert store.compact().records == 1
    assert ids(store) == ["r1", "r2"]


def test_a_log_that_is_not_there_is_empty(store: LogStore) -> None:
    assert store.compact() == CompactionReport()
    assert ids(store) == []
    assert ids(store, "access") == []


def test_a_copy_of_a_segment_adds_nothing(store: LogStore, log: Path) -> None:
    log_of(log, [a_record("r1"), a_record("r1", 1)], [an_access_record("r1")])
    store.compact()
    for segment in segments_in(log):
        shutil.copy(segment, log / f"copy-{segment.name}")
    report = store.compact()
    assert (report.segments, report.records, report.duplicates) == (2, 0, 3)
    assert len(rows(store, "SELECT * FROM inference")) == 2


def test_copies_within_one_round_are_one(store: LogStore, log: Path) -> None:
    segment_of(log, [GOOD, GOOD, line(a_record("other"))], 0)
    segment_of(log, [GOOD], 1)
    report = store.compact()
    assert (report.records, report.duplicates) == (2, 2)
    assert ids(store) == ["good", "other"]


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp_ns": NOON_NS + 1},
        {"client": "c2"},
        {"attempt": 2},
        {"role": "shadow"},
        {"item": 1},
        {"model": "other"},
        {"model_version": "2.0"},
    ],
)
def test_what_differs_in_the_key_is_another_record(
    store: LogStore, log: Path, change: dict[str, object]
) -> None:
    record = a_record("r1", timestamp_ns=NOON_NS)
    segment_of(log, [line(record), line(record, **change)])
    report = store.compact()
    assert (report.records, report.duplicates) == (2, 0)


def test_an_id_used_again_is_counted_and_both_kept(store: LogStore, log: Path) -> None:
    times = (NOON_NS, NOON_NS + 1, NOON_NS + 2)
    again = [a_record("r1", timestamp_ns=time_ns) for time_ns in times]
    log_of(log, [*again, a_record("r2")])
    assert store.compact().records == 4
    assert store.reused_request_ids() == 2


def test_a_segment_that_was_taken_half_is_taken_whole_once_it_is(
    store: LogStore, log: Path
) -> None:
    both = GOOD + line(a_record("late"))
    path = segment_of(log, [both[: len(GOOD) + 40]])
    report = store.compact()
    assert (report.records, report.quarantined) == (1, {Fault.TORN: 1})
    path.write_bytes(both)
    report = store.compact()
    assert (report.records, report.duplicates, report.quarantined) == (1, 1, {})
    assert ids(store) == ["good", "late"]


def test_the_order_of_the_fields_does_not_matter(store: LogStore, log: Path) -> None:
    backwards = dict(reversed(a_record("r1").items()))
    segment_of(log, [line(backwards)])
    assert store.compact().records == 1


FOREIGN = [
    (b"not json\n", Fault.NOT_JSON),
    (b"\xff\xfe{}\n", Fault.NOT_JSON),
    (GOOD[:50] + b"\n", Fault.NOT_JSON),
    (b'{"a": ' * 2000 + b"\n", Fault.NOT_JSON),
    (b"[1, 2]\n", Fault.NOT_AN_OBJECT),
    (b"17\n", Fault.NOT_AN_OBJECT),
    (b"{}\n", Fault.NO_KIND),
    (line(a_record(), kind="training"), Fault.NO_KIND),
    (line(a_record(), kind=["access"]), Fault.NO_KIND),
    (line(a_record(), schema=2), Fault.UNKNOWN_SCHEMA),
    (line(a_record(), schema=0), Fault.UNKNOWN_SCHEMA),
    (line(a_record(), schema="1"), Fault.WRONG_TYPE),
    (line(a_record(), timestamp_ns=0), Fault.IMPOSSIBLE_TIME),
    (line(a_record(), timestamp_ns=-5), Fault.IMPOSSIBLE_TIME),
    (line(a_record(), timestamp_ns=2**63 - 1), Fault.IMPOSSIBLE_TIME),
    (line(a_record(), timestamp_ns="yesterday"), Fault.WRONG_TYPE),
    (line({"kind": "access", "schema": 1, "timestamp_ns": NOON_NS}), Fault.MISSING_FIELD),
    (line(a_record(), runtime_ms={"total": 1.0}), Fault.MISSING_FIELD),
    (line(a_record(), runtime_ms=None), Fault.WRONG_TYPE),
    (line(a_record(), request_id=7), Fault.WRONG_TYPE),
    (line(a_record(), probability=["high"]), Fault.WRONG_TYPE),
    (line(a_record(), worker=2**63), Fault.WRONG_TYPE),
    (line(an_access_record(), total_ms="long"), Fault.WRONG_TYPE),
]


@pytest.mark.parametrize(("foreign", "fault"), FOREIGN)
def test_the_fault_of_a_foreign_line_is_named(foreign: bytes, fault: Fault) -> None:
    quarantine = Quarantine(Tally())
    records = decode_block(Block(0, GOOD + foreign + GOOD), "segment", quarantine)
    assert len(records) == 2
    assert quarantine.tally.quarantined == {fault: 1}


def test_foreign_lines_are_set_aside_and_their_neighbours_stay(
    tmp_path: Path, store: LogStore, log: Path
) -> None:
    lines_, offset, places = [GOOD], len(GOOD), []
    for number, (foreign, fault) in enumerate(FOREIGN):
        lines_ += [foreign, line(a_record(f"after-{number:02}"))]
        places.append((offset, fault, foreign))
        offset += len(lines_[-2]) + len(lines_[-1])
    path = segment_of(log, lines_)
    report = store.compact()
    assert report.quarantined == Counter(fault for _, fault in FOREIGN)
    assert ids(store) == [*(f"after-{number:02}" for number in range(len(FOREIGN))), "good"]
    assert store.summary().quarantined == report.quarantined
    (kept,) = (tmp_path / "store" / "quarantine").iterdir()
    aside = [orjson.loads(text) for text in kept.read_bytes().splitlines()]
    assert [(one["offset"], one["fault"]) for one in aside] == [place[:2] for place in places]
    assert {one["segment"] for one in aside} == {path.name}
    assert aside[0]["line"] == "not json"
    assert store.compact() == CompactionReport()


def test_numbers_that_were_not_finite_are_null(store: LogStore, log: Path) -> None:
    nan = float("nan")
    runtime = {"decode": nan, "screen_predict": 1.0, "total": nan}
    log_of(log, [a_record("r1", runtime_ms=runtime, probability=[nan, 0.5])])
    assert store.compact().quarantined == {}
    query = "SELECT runtime_ms.total, runtime_ms.screen_predict, probability FROM inference"
    assert rows(store, query) == [(None, 1.0, [None, 0.5])]


def test_unknown_fields_are_counted_and_their_records_kept(store: LogStore, log: Path) -> None:
    nested = line(
        a_record("inner"), runtime_ms={"decode": 1, "screen_predict": 1, "total": 1, "x": 1}
    )
    segment_of(log, [line(a_record("r1"), shoe_size=43), GOOD, nested])
    report = store.compact()
    assert (report.records, report.quarantined) == (3, {})
    assert report.unknown_fields == {"shoe_size": 1, "...": 1}


@pytest.mark.parametrize("value", [b"1e999", b"9" * 400, b'"\xff"', b"[" * 900 + b"]" * 900])
def test_an_unknown_field_may_hold_what_no_parser_takes(
    store: LogStore, log: Path, value: bytes
) -> None:
    odd = line(a_record("odd"))[:-2] + b',"odd":' + value + b"}\n"
    segment_of(log, [GOOD, odd])
    report = store.compact()
    assert report.records + sum(report.quarantined.values()) == 2
    assert report.unknown_fields == ({"odd": 1} if report.records == 2 else {})


def test_records_from_the_future_are_kept_and_counted(store: LogStore, log: Path) -> None:
    ahead = time.time_ns() + 2 * DAY_NS
    log_of(log, [a_record("ahead", timestamp_ns=ahead), a_record("now")])
    report = store.compact()
    assert (report.records, report.clock_skew, report.quarantined) == (2, 1, {})
    assert ids(store) == ["ahead", "now"]


def test_a_torn_tail_is_counted_once(tmp_path: Path, store: LogStore, log: Path) -> None:
    open_path = segment_of(log, [GOOD, b'{"schema":1,"ki']).rename(
        log / "host-1-1000-000000.jsonl.open"
    )
    report = store.compact()
    assert not open_path.exists()  # its writer is dead, so it was closed
    assert (report.records, report.quarantined) == (1, {Fault.TORN: 1})
    assert store.compact() == CompactionReport()
    (kept,) = (tmp_path / "store" / "quarantine").iterdir()
    assert orjson.loads(kept.read_bytes())["line"] == '{"schema":1,"ki'


def test_a_line_beyond_all_measure_is_passed_over(
    store: LogStore, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 4096)
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1000)
    segment_of(log, [GOOD, b"x" * 20_000 + b"\n", line(a_record("after")), b"y" * 9_000])
    report = store.compact()
    assert report.quarantined == {Fault.TOO_LONG: 2}
    assert ids(store) == ["after", "good"]
    assert store.compact() == CompactionReport()


def test_names_of_models_that_nobody_serves_make_no_folders(store: LogStore, log: Path) -> None:
    refused = {"code": "NOT_FOUND", "items_ok": 0, "timestamp_ns": NOON_NS}
    asked = [an_access_record(f"r{i}", model=f"guess-{i}", **refused) for i in range(30)]
    log_of(log, [*asked, an_access_record("r", timestamp_ns=NOON_NS)])
    assert store.compact().partitions == {
        "kind=access/model=__HIVE_DEFAULT_PARTITION__/date=2026-01-31": 30,
        "kind=access/model=digits/date=2026-01-31": 1,
    }
    assert rows(store, "SELECT count(DISTINCT model) FROM access") == [(31,)]


def test_segments_go_if_asked_unless_something_of_them_was_set_aside(
    store: LogStore, log: Path
) -> None:
    segment_of(log, [GOOD], 0)
    faulty = segment_of(log, [line(a_record("r2")), b"what?\n"], 1)
    assert store.compact(keep_segments=False).records == 2
    assert segments_in(log) == [faulty]
    assert ids(store) == ["good", "r2"]


def test_rounds_are_written_as_they_fill(
    store: LogStore, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "ROUND_BYTES", 2000)
    monkeypatch.setattr(lines, "BLOCK_BYTES", 3000)
    names = [f"r{number:02}" for number in range(40)]
    log_of(
        log, *([a_record(name) for name in names[start : start + 10]] for start in (0, 10, 20, 30))
    )
    report = store.compact()
    assert (report.segments, report.records) == (4, 40)
    assert store.summary().parts > 5
    assert ids(store) == names
    assert store.compact() == CompactionReport()


def test_an_unreadable_segment_is_counted_and_tried_again(tmp_path: Path, log: Path) -> None:
    segment_of(log, [GOOD], 0)
    closed_to_us = segment_of(log, [line(a_record("secret"))], 1)
    closed_to_us.chmod(0)
    script = (
        "import json, sys; from pathlib import Path; from monitoring.store import LogStore\n"
        "store = LogStore(sys.argv[1], Path(sys.argv[2]))\n"
        "print(json.dumps([store.compact().to_json(), store.compact().to_json()]))\n"
        "print(store.live().quarantined['segment cannot be read'])"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "store"), str(log)]
    if os.geteuid() == 0:  # root without its power to read everything
        arguments = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *arguments]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reports, live = done.stdout.splitlines()
    first, second = orjson.loads(reports)
    assert (first["records"], first["quarantined"]) == (1, {"segment cannot be read": 1})
    assert (second["records"], second["quarantined"]) == (0, {"segment cannot be read": 1})
    assert live == "1"
    closed_to_us.chmod(0o600)
    store = LogStore(tmp_path / "store", log)
    assert store.compact().records == 1
    assert ids(store) == ["good", "secret"]


def test_without_a_log_there_is_nothing_to_compact(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no log directory"):
        LogStore(tmp_path).compact()


def test_a_log_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with pytest.raises(UserError, match="cannot be read: Not a directory"):
        LogStore(tmp_path / "store", tmp_path / "log").compact()
