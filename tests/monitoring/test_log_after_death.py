from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from monitoring.log_reader import ReadReport, read_records
from monitoring.request_log import RequestLog, RequestLogConfig
from monitoring.segment import CLOSED, OPEN, seal_abandoned, segments_in
from tests.monitoring.records import a_record

ROOT = Path(__file__).parents[2]
ENDLESS = 10**9


def start_writer(directory: Path, *numbers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.monitoring.heavy_writer", str(directory)]
    command += [str(number) for number in numbers]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def lines_of(segment: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in segment.read_bytes().splitlines()]


def kill_while_writing(writer: subprocess.Popen[bytes], seconds: float) -> list[str]:
    """Kill a writer that long after its first acknowledgement; return what it acknowledged."""
    assert writer.stdout is not None
    first = writer.stdout.readline()
    killer = threading.Timer(seconds, writer.kill)
    killer.start()
    with writer:
        said = first + writer.stdout.read()
    killer.join()
    whole, _, _ = said.rpartition(b"\n")
    return whole.decode().split("\n")


@pytest.mark.parametrize(
    ("items", "padding", "segment_bytes", "seed"),
    [
        pytest.param(16, 0, 64 << 20, 0, id="small batches"),
        pytest.param(16, 0, 40_000, 1, id="small batches and segments"),
        pytest.param(8, 1 << 20, 64 << 20, 2, id="batches of 8 MiB"),
        pytest.param(3, 2 << 20, 4 << 20, 3, id="batches larger than segments"),
    ],
)
def test_a_killed_writer_loses_nothing_it_acknowledged(
    tmp_path: Path, items: int, padding: int, segment_bytes: int, seed: int
) -> None:
    moments = random.Random(seed)
    for attempt in range(5):
        directory = tmp_path / str(attempt)
        writer = start_writer(directory, ENDLESS, items, padding, segment_bytes)
        acknowledged = kill_while_writing(writer, moments.uniform(0.0, 0.12))

        report = ReadReport()
        logged = Counter(r["request_id"] for r in read_records(directory, report=report))
        assert [logged[name] for name in acknowledged] == [items] * len(acknowledged)
        assert report.damaged <= 1
        assert all(damage.fault == "unfinished last line" for damage in report.examples)

        seal_abandoned(directory)
        assert not list(directory.glob(f"*{OPEN}"))
        torn = b"".join(path.read_bytes() for path in directory.glob("*.torn"))
        assert bool(torn) == bool(report.damaged)
        for segment in directory.glob(f"*{CLOSED}"):
            content = segment.read_bytes()
            assert content.endswith(b"\n")
            assert all(orjson.loads(line) for line in content.splitlines())
        again = Counter(record["request_id"] for record in read_records(directory))
        assert again == logged


def test_processes_never_share_a_segment(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, 50, 4, 0, 10_000) for _ in range(3)]
    assert [writer.communicate() and writer.returncode for writer in writers] == [0, 0, 0]
    pids = {str(writer.pid) for writer in writers}
    seen: set[str] = set()
    for segment in segments_in(tmp_path):
        authors = {str(record["worker"]) for record in lines_of(segment)}
        assert authors == {segment.name.split("-")[-3]}
        seen |= authors
    assert seen == pids
    assert len(list(read_records(tmp_path))) == 3 * 50 * 4


def test_the_next_log_closes_what_a_killed_process_left_open(tmp_path: Path) -> None:
    kill_while_writing(start_writer(tmp_path, ENDLESS, 2, 0, 64 << 20), 0)
    [abandoned] = segments_in(tmp_path)
    assert abandoned.name.endswith(OPEN)
    RequestLog(RequestLogConfig(), directory=tmp_path).close()
    [sealed] = segments_in(tmp_path)
    assert sealed.name == abandoned.name.removesuffix(".open")


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, ENDLESS, 2, 0, 64 << 20)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert seal_abandoned(tmp_path) == []
        assert segments_in(tmp_path)[0].name.endswith(OPEN)
    finally:
        kill_while_writing(writer, 0)


def run_in_fork(action: Callable[[], None]) -> int:
    """Run a function in a forked child; return its exit status, or -1 if it hangs."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def test_a_forked_child_writes_a_segment_of_its_own(tmp_path: Path) -> None:
    with RequestLog(RequestLogConfig(), directory=tmp_path) as log:
        log.write([a_record("parent before")])

        def child() -> None:
            assert log.dropped == 0
            log.write([a_record("child")])
            log.close()

        assert run_in_fork(child) == 0
        log.write([a_record("parent after")])
        parents, childs = segments_in(tmp_path)
        assert parents.name.endswith(OPEN)
        assert childs.name.endswith(CLOSED)
    written = [[r["request_id"] for r in lines_of(segment)] for segment in segments_in(tmp_path)]
    assert written == [["parent before", "parent after"], ["child"]]


FORKING_WRITER = """
import os, sys, time
from pathlib import Path
from monitoring.request_log import RequestLog, RequestLogConfig
from tests.monitoring.records import a_record
log = RequestLog(RequestLogConfig(), directory=Path(sys.argv[1]))
log.write([a_record()])
if os.fork() == 0: os.write(1, f"{os.getpid()}\\n".encode())
time.sleep(60)
"""


def test_a_child_that_outlives_its_parent_does_not_keep_the_segment_open(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING_WRITER, str(tmp_path)]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    child = int(writer.stdout.readline())
    try:
        assert seal_abandoned(tmp_path) == []
        writer.kill()
        writer.wait()
        assert len(seal_abandoned(tmp_path)) == 1
    finally:
        os.kill(child, signal.SIGKILL)
        writer.stdout.close()


def test_a_fork_in_the_middle_of_writing_does_not_lock_the_child(tmp_path: Path) -> None:
    stop = threading.Event()
    with closing(RequestLog(RequestLogConfig(), directory=tmp_path)) as log:

        def keep_writing() -> None:
            while not stop.is_set():
                log.write([a_record("thread", client="x" * 100_000)])

        thread = threading.Thread(target=keep_writing)
        thread.start()
        try:
            for _ in range(10):
                assert run_in_fork(lambda: log.write([a_record("child")])) == 0
        finally:
            stop.set()
            thread.join()
    report = ReadReport()
    ids = Counter(record["request_id"] for record in read_records(tmp_path, report=report))
    assert ids["child"] == 10
    assert report.damaged == 0
