from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring import log_reader
from monitoring.log_reader import Damage, Kind, ReadReport, Tail, find, read_records, tail
from monitoring.request_log import RequestLog, RequestLogConfig
from tests.monitoring.records import a_record, an_access_record

NAME = "host-1-1700000000000000000-000000.jsonl"
LATER = "host-2-1800000000000000000-000000.jsonl"


def line(request_id: str, timestamp_ns: int = 0) -> bytes:
    return orjson.dumps({"request_id": request_id, "timestamp_ns": timestamp_ns}) + b"\n"


def ids(records: list[dict[str, Any]]) -> list[Any]:
    return [record.get("request_id") for record in records]


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"\n", b"{}\n", b"[" * 2000, b'{"a":', b"\0" * 9, b"null\n", b'"\n"']),
        ),
        max_size=12,
    ),
    st.sampled_from(["", ".open"]),
)
def test_no_bytes_stop_the_reading(pieces: list[bytes], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, report = Path(name), ReadReport()
        content = b"".join(pieces)
        (directory / (NAME + suffix)).write_bytes(content)
        (directory / LATER).write_bytes(line("good"))
        records = list(read_records(directory, report=report))
        last = tail(directory, 3)
        found = find(directory, "good")
    assert records[-1]["request_id"] == "good"
    assert all(type(record) is dict for record in records)
    lines = content.count(b"\n") + (not content.endswith(b"\n") and content != b"")
    assert report.records + report.damaged == lines + 1
    assert report.records == len(records)
    assert all(record in records for record in last)
    assert ids(found) == ["good"]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_truncated_last_line_is_left_out_and_told(tmp_path: Path, cut: int) -> None:
    content = line("a") + line("b")
    (tmp_path / f"{NAME}.open").write_bytes(content[:-cut])
    report = ReadReport()
    assert ids(list(read_records(tmp_path, report=report))) == ["a"]
    place = Damage(f"{NAME}.open", len(line("a")), "unfinished last line")
    assert report == ReadReport(records=1, damaged=1, examples=[place])


def test_damage_in_the_middle_costs_only_its_line(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(line("a") + b"\0\0\0\n" + line("b") + b"[1]\n" + line("c"))
    report = ReadReport()
    assert ids(list(read_records(tmp_path, report=report))) == ["a", "b", "c"]
    assert [damage.fault for damage in report.examples] == ["not a record"] * 2


def test_much_damage_is_counted_but_not_all_kept(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\n" * 5000 + line("a"))
    report = ReadReport()
    assert ids(list(read_records(tmp_path, report=report))) == ["a"]
    assert report.damaged == 5000
    assert len(report.examples) == 100


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_an_endless_line_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: bytes
) -> None:
    monkeypatch.setattr(log_reader, "MAX_LINE_BYTES", 100)
    smuggled = b"x" * 200 + line("smuggled") + line("after")
    (tmp_path / NAME).write_bytes(line("before") + smuggled + b"y" * 100 + ending)
    report = ReadReport()
    assert ids(list(read_records(tmp_path, report=report))) == ["before", "after"]
    assert report.damaged == 2
    assert ids(tail(tmp_path, 10)) == ["before", "after"]


def test_segments_are_read_in_the_order_they_were_begun(tmp_path: Path) -> None:
    (tmp_path / LATER).write_bytes(line("c"))
    (tmp_path / f"{NAME}.open").write_bytes(line("a") + line("b"))
    (tmp_path / f"{NAME}.torn").write_bytes(line("torn"))
    assert ids(list(read_records(tmp_path))) == ["a", "b", "c"]


def test_a_missing_directory_has_no_records(tmp_path: Path) -> None:
    assert list(read_records(tmp_path / "none")) == []
    assert tail(tmp_path / "none", 5) == []
    assert find(tmp_path / "none", "x") == []


def test_a_segment_closed_while_reading_is_read_to_its_end(tmp_path: Path) -> None:
    with RequestLog(RequestLogConfig(), directory=tmp_path) as log:
        log.write([a_record("first")])
        records = read_records(tmp_path)
        assert next(records)["request_id"] == "first"
        log.write([a_record("last")])
        log.close()
        assert ids(list(records)) == ["last"]


def test_a_segment_closed_or_removed_between_listing_and_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / NAME).write_bytes(line("a"))
    listed = [tmp_path / f"{NAME}.open", tmp_path / LATER]
    monkeypatch.setattr(log_reader, "segments_in", lambda _: listed)
    report = ReadReport()
    assert ids(list(read_records(tmp_path, report=report))) == ["a"]
    assert report.damaged == 0
    assert ids(tail(tmp_path, 9)) == ["a"]


def test_find_returns_all_of_a_request_and_nothing_else(tmp_path: Path) -> None:
    with RequestLog(RequestLogConfig(segment_bytes=2000), directory=tmp_path) as log:
        for number in range(20):
            log.write([a_record(f"r{number}", item) for item in range(2)])
        log.write([a_record("other", correlation_id="r1", session_id='"r1"')])
        assert [(r["request_id"], r["item"]) for r in find(tmp_path, "r1")] == [
            ("r1", 0),
            ("r1", 1),
        ]
    assert find(tmp_path, "r") == []
    assert find(tmp_path, 'r1"') == []


@pytest.mark.parametrize("request_id", ['é\n"\\', "\ud800", ""])
def test_find_knows_how_an_odd_id_is_written(tmp_path: Path, request_id: str) -> None:
    with RequestLog(RequestLogConfig(), directory=tmp_path) as log:
        log.write([a_record(request_id, 0), a_record("other", 1)])
    assert [record["item"] for record in find(tmp_path, request_id)] == [0]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.lists(st.lists(st.integers(0, 10**6), max_size=30), max_size=4),
    st.integers(0, 40),
    st.binary(max_size=5).filter(lambda torn: b"\n" not in torn),
)
def test_tail_is_the_end_of_all_segments_in_order_of_time(
    times: list[list[int]], count: int, torn: bytes
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for number, segment in enumerate(times):
            lines = [line("x", moment) for moment in sorted(segment)]
            path = directory / f"host-{number}-{number}-000000.jsonl.open"
            path.write_bytes(b"".join(lines) + torn)
        records = tail(directory, count)
    wanted = sorted(moment for segment in times for moment in segment)
    assert [r["timestamp_ns"] for r in records] == wanted[max(0, len(wanted) - count) :]


def test_tail_needs_not_read_the_whole_segment(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with path.open("wb") as file:
        file.truncate(1 << 33)  # 8 GiB of nothing, on disk a few bytes
        file.seek(0, 2)
        file.write(b"\n" + line("a") + line("b"))
    assert ids(tail(tmp_path, 2)) == ["a", "b"]


def test_following_gives_each_new_record_once(tmp_path: Path) -> None:
    with RequestLog(RequestLogConfig(segment_bytes=3000), directory=tmp_path) as log:
        log.write([a_record("old"), a_record("last")])
        end = Tail(tmp_path, 1)
        assert ids(end.poll()) == ["last"]
        seen = []
        for number in range(30):
            log.write([a_record(f"{number}.{item}") for item in range(3)])
            if number % 4 == 0:
                seen += ids(end.poll())
    seen += ids(end.poll())
    assert seen == [f"{number}.{item}" for number in range(30) for item in range(3)]
    assert end.poll() == []


def test_following_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    end = Tail(tmp_path, 5)
    path = tmp_path / f"{NAME}.open"
    path.write_bytes(line("a") + line("b")[:9])
    assert ids(end.poll()) == ["a"]
    assert end.poll() == []
    path.write_bytes(line("a") + line("b"))
    assert ids(end.poll()) == ["b"]


def test_following_goes_on_after_a_batch_was_taken_back(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.open"
    path.write_bytes(line("a") + line("taken back"))
    end = Tail(tmp_path, 5)
    assert ids(end.poll()) == ["a", "taken back"]
    path.write_bytes(line("a"))
    assert end.poll() == []
    path.write_bytes(line("a") + line("b"))
    assert ids(end.poll()) == ["b"]


@pytest.mark.parametrize("time", [b"null", b'"late"', b"1.5", b"[]", b"1e400"])
def test_a_record_with_an_odd_time_does_not_stop_the_tail(tmp_path: Path, time: bytes) -> None:
    (tmp_path / NAME).write_bytes(
        line("a", 5) + b'{"timestamp_ns": ' + time + b"}\n" + line("b", 6)
    )
    assert ids(tail(tmp_path, 3))[-2:] == ["a", "b"]


@pytest.fixture
def of_both_kinds(tmp_path: Path) -> Path:
    """A directory that a worker and a gateway write to, turn by turn."""
    worker = RequestLog(RequestLogConfig(), directory=tmp_path)
    gateway = RequestLog(RequestLogConfig(), directory=tmp_path)
    with worker, gateway:
        for number in range(10):
            worker.write([a_record(f"r{number}", item) for item in range(2)])
            gateway.write([an_access_record(f"r{number}")])
    return tmp_path


def test_access_records_are_read_only_when_asked_for(of_both_kinds: Path) -> None:
    counts = {kind: len(list(read_records(of_both_kinds, kind=kind))) for kind in Kind}
    assert counts == {Kind.INFERENCE: 20, Kind.ACCESS: 10, Kind.ALL: 30}
    assert len(list(read_records(of_both_kinds))) == 20
    assert [record["item"] for record in find(of_both_kinds, "r3")] == [0, 1]
    [access] = find(of_both_kinds, "r3", kind=Kind.ACCESS)
    assert (access["code"], access["request_id"]) == ("OK", "r3")
    assert len(find(of_both_kinds, "r3", kind=Kind.ALL)) == 3


def test_the_last_records_of_a_kind(of_both_kinds: Path) -> None:
    assert ids(tail(of_both_kinds, 3)) == ["r8", "r9", "r9"]
    assert ids(tail(of_both_kinds, 3, kind=Kind.ACCESS)) == ["r7", "r8", "r9"]
    end = Tail(of_both_kinds, 0, kind=Kind.ACCESS)
    with RequestLog(RequestLogConfig(), directory=of_both_kinds) as log:
        log.write([an_access_record("new")])
        log.write([a_record("of an item")])
        assert ids(end.poll()) == ["new"]


def test_an_attribute_does_not_make_an_access_record(tmp_path: Path) -> None:
    with RequestLog(RequestLogConfig(), directory=tmp_path) as log:
        log.write([a_record("r1", segments={"kind": "access"})])
    assert ids(list(read_records(tmp_path))) == ["r1"]
    assert list(read_records(tmp_path, kind=Kind.ACCESS)) == []
