from __future__ import annotations

import math
import os
import stat
import tempfile
import threading
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.log_reader import Kind, ReadReport, read_records
from monitoring.record_check import check_record
from monitoring.request_log import OnFull, Record, RequestLog, RequestLogConfig, is_sampled
from monitoring.segment import CLOSED, OPEN, segments_in
from tests.monitoring.any_records import any_records
from tests.monitoring.records import a_record
from torchkeep.errors import SettingsError
from torchkeep.paths import Home
from torchkeep.settings import Settings

PLAIN = RequestLogConfig()


def ids_in(directory: Path) -> list[str]:
    return [record["request_id"] for record in read_records(directory)]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(any_records(), min_size=1, max_size=3))
def test_what_is_written_is_what_is_read(batches: list[list[Record]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        with RequestLog(PLAIN, directory=Path(directory)) as log:
            for batch in batches:
                log.write(batch)
        report = ReadReport()
        read = list(read_records(Path(directory), kind=Kind.ALL, report=report))
        of = {kind: list(read_records(Path(directory), kind=kind)) for kind in Kind}
    assert read == [record for batch in batches for record in batch]
    assert of[Kind.ACCESS] == [record for record in read if record["kind"] == "access"]
    assert of[Kind.INFERENCE] == [record for record in read if record["kind"] == "inference"]
    assert report.damaged == 0


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_float32_arrays_come_back_exactly(values: list[float]) -> None:
    written = np.array(values, np.float32)
    with tempfile.TemporaryDirectory() as directory:
        with RequestLog(PLAIN, directory=Path(directory)) as log:
            log.write([a_record(probability=written)])
        [read] = read_records(Path(directory))
    assert np.array_equal(np.array(read["probability"], np.float32), written)
    assert check_record(read) == []


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param("half a pair \ud800", "half a pair \\ud800", id="lone surrogate"),
        pytest.param({"\udfff": "x"}, {"\\udfff": "x"}, id="lone surrogate in a key"),
        pytest.param("two\nlines\r\0", "two\nlines\r\0", id="newlines"),
        pytest.param([math.nan, math.inf], [None, None], id="not finite"),
        pytest.param(np.zeros((2, 4))[:, ::2], [[0, 0], [0, 0]], id="strided array"),
        pytest.param(np.array([1.5], ">f4"), [1.5], id="big endian array"),
        pytest.param(np.array(2.5), 2.5, id="array without axes"),
        pytest.param(np.array([0.5], np.float16), [0.5], id="float16"),
    ],
)
def test_odd_values_are_logged_too(tmp_path: Path, written: Any, read: Any) -> None:
    with RequestLog(PLAIN, directory=tmp_path) as log:
        log.write([a_record("before"), a_record(session_id=written), a_record("after")])
    records = list(read_records(tmp_path))
    assert [record["request_id"] for record in records] == ["before", "r1", "after"]
    assert records[1]["session_id"] == read


def test_a_batch_that_no_json_can_hold_is_not_written_in_part(tmp_path: Path) -> None:
    with RequestLog(PLAIN, directory=tmp_path) as log:
        with pytest.raises(TypeError):
            log.write([a_record("good"), a_record(session_id=object())])
        log.write([a_record("next")])
    assert ids_in(tmp_path) == ["next"]


def test_each_batch_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    write = os.write

    def counting(descriptor: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", counting)
    with RequestLog(PLAIN, directory=tmp_path) as log:
        log.write([a_record(str(number)) for number in range(16)])
        log.write([])
        log.write([a_record("last")])
    monkeypatch.undo()
    [segment] = segments_in(tmp_path)
    assert len(sizes) == 2
    assert sum(sizes) == segment.stat().st_size


def test_only_the_owner_can_read_the_log(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "log"
    with RequestLog(PLAIN, directory=directory) as log:
        log.write([a_record()])
        [segment] = segments_in(directory)
        assert stat.S_IMODE(segment.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_segment_is_open_until_the_log_is_closed(tmp_path: Path) -> None:
    log = RequestLog(PLAIN, directory=tmp_path)
    assert segments_in(tmp_path) == []
    log.write([a_record()])
    [segment] = segments_in(tmp_path)
    assert segment.name.endswith(OPEN)
    log.close()
    log.close()
    [closed] = segments_in(tmp_path)
    assert closed.name == segment.name.removesuffix(".open")
    with pytest.raises(ValueError, match="closed"):
        log.write([a_record()])


def test_segments_rotate_between_batches(tmp_path: Path) -> None:
    config = RequestLogConfig(segment_bytes=4096)
    with RequestLog(config, directory=tmp_path) as log:
        for number in range(40):
            log.write([a_record(str(number), item) for item in range(2)])
        open_ones = [path for path in segments_in(tmp_path) if path.name.endswith(OPEN)]
        assert len(open_ones) == 1
    segments = segments_in(tmp_path)
    assert len(segments) > 10
    assert all(segment.stat().st_size <= 4096 for segment in segments)
    assert ids_in(tmp_path) == [str(number) for number in range(40) for _ in range(2)]


def test_a_batch_larger_than_a_segment_gets_a_segment_of_its_own(tmp_path: Path) -> None:
    with RequestLog(RequestLogConfig(segment_bytes=1024), directory=tmp_path) as log:
        log.write([a_record("small")])
        log.write([a_record(session_id="x" * 5000)])
        log.write([a_record("small")])
    assert len(segments_in(tmp_path)) == 3


def test_two_logs_of_one_process_never_share_a_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_000_000_000)
    with (
        RequestLog(PLAIN, directory=tmp_path) as one,
        RequestLog(PLAIN, directory=tmp_path) as other,
    ):
        one.write([a_record("one")])
        other.write([a_record("other")])
        assert len(segments_in(tmp_path)) == 2
    with RequestLog(PLAIN, directory=tmp_path) as third:
        third.write([a_record("third")])
    assert ids_in(tmp_path) == ["one", "other", "third"]


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make other threads run in the middle of each write, so that a missing lock shows."""
    write = os.write

    def slow(descriptor: int, data: bytes) -> int:
        time.sleep(0.0002)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", slow)


@pytest.mark.usefixtures("slow_disk")
def test_threads_share_a_log(tmp_path: Path) -> None:
    threads, batches = 8, 40
    start = threading.Barrier(threads)

    def write(log: RequestLog, thread: int) -> None:
        start.wait()
        for batch in range(batches):
            log.write([a_record(f"{thread}.{batch}", item) for item in range(3)])

    with RequestLog(RequestLogConfig(segment_bytes=6000), directory=tmp_path) as log:
        workers = [threading.Thread(target=write, args=(log, number)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert log.dropped == 0
    report = ReadReport()
    read = [(r["request_id"], r["item"]) for r in read_records(tmp_path, report=report)]
    assert report.damaged == 0
    assert read[::3] == [(request_id, 0) for request_id, _ in read[::3]]  # batches stay together
    for thread in range(threads):
        mine = [request_id for request_id, _ in read[::3] if request_id.startswith(f"{thread}.")]
        assert mine == [f"{thread}.{batch}" for batch in range(batches)]


@pytest.mark.parametrize("gone", ["segment", "directory"])
def test_records_go_to_a_new_segment_when_the_old_one_is_deleted(tmp_path: Path, gone: str) -> None:
    directory = tmp_path / "log"
    with RequestLog(PLAIN, directory=directory) as log:
        log.write([a_record("deleted")])
        segments_in(directory)[0].unlink()
        if gone == "directory":
            directory.rmdir()
        log.write([a_record("kept")])
        assert log.dropped == 0
    assert ids_in(directory) == ["kept"]


def test_fsync_asks_the_disk_for_the_file_and_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def sync(descriptor: int, real: Any = real) -> None:
            synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
            real(descriptor)

        monkeypatch.setattr(os, name, sync)
    with RequestLog(RequestLogConfig(fsync=True), directory=tmp_path) as log:
        log.write([a_record()])
        log.write([a_record()])
    assert synced == [True, False, False]


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot use .*/file/log: File exists\. Name a"):
        RequestLog(PLAIN, directory=tmp_path / "file" / "log")
    with pytest.raises(SettingsError, match="cannot use /proc/self/log"):
        RequestLog(PLAIN, directory=Path("/proc/self/log"))


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(SettingsError, match=r"other users can write to it\. Run `chmod 700"):
        RequestLog(PLAIN, directory=tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("sample_inputs", 1.5, "share from 0 to 1"),
        ("sample_inputs", math.nan, "share from 0 to 1"),
        ("segment_bytes", 10, "at least 1024"),
        ("segment_attributes", ("plan", ""), "Give names"),
        ("segment_attributes", (3,), "Give names"),
    ],
)
def test_bad_settings_are_refused(key: str, value: Any, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        RequestLogConfig(**{key: value})


def test_settings_fill_the_config(tmp_path: Path) -> None:
    variables = {
        "TORCHKEEP_REQUEST_LOG_ON_FULL": "refuse",
        "TORCHKEEP_REQUEST_LOG_DIRECTORY": "logs/here",
        "TORCHKEEP_REQUEST_LOG_SEGMENT_ATTRIBUTES": "country, plan",
    }
    config = Settings({}, variables, "none").section("request_log", RequestLogConfig)
    assert config.on_full is OnFull.REFUSE
    assert config.location(Home(tmp_path)) == tmp_path / "logs" / "here"
    assert config.segment_attributes == ("country", "plan")
    assert RequestLogConfig().location(Home(tmp_path)) == tmp_path / "request-log"
    absolute = RequestLogConfig(directory=Path("/var/log/x"))
    assert absolute.location(Home(tmp_path)) == Path("/var/log/x")


def test_the_documented_settings_are_the_defaults(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "request-log.md").read_text(encoding="utf-8")
    _, _, block = page.partition("```toml\n")
    (tmp_path / "torchkeep.toml").write_text(block.partition("```")[0])
    documented = Settings.load(tmp_path / "torchkeep.toml", environ={})
    assert set(documented.tables["request_log"]) == {field.name for field in fields(PLAIN)}
    config = documented.section("request_log", RequestLogConfig)
    home = Home(tmp_path)
    assert config.location(home) == PLAIN.location(home)
    assert replace(config, directory=None) == PLAIN


def test_the_same_items_are_sampled_again() -> None:
    items = [(f"request-{number}", item) for number in range(1000) for item in range(4)]
    chosen = [key for key in items if is_sampled(*key, 0.1)]
    assert chosen == [key for key in items if is_sampled(*key, 0.1)]
    assert 300 < len(chosen) < 500
    assert set(chosen) < {key for key in items if is_sampled(*key, 0.2)}
    assert not any(is_sampled(*key, 0.0) for key in items)
    assert all(is_sampled(*key, 1.0) for key in items)


def test_a_lone_surrogate_can_be_sampled() -> None:
    assert is_sampled("\ud800", 0, 1.0)


def test_lines_are_json_of_one_line(tmp_path: Path) -> None:
    with RequestLog(PLAIN, directory=tmp_path) as log:
        log.write([a_record("a\nb"), a_record("c")])
    content = segments_in(tmp_path)[0].read_bytes()
    assert content.count(b"\n") == 2
    assert [orjson.loads(line)["request_id"] for line in content.splitlines()] == ["a\nb", "c"]
    assert segments_in(tmp_path)[0].name.endswith(CLOSED)
