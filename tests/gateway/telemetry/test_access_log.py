from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.finished import Finished
from gateway.refusal import Code
from gateway.telemetry.access_log import LONGEST_MESSAGE, LONGEST_NAME, AccessLog, access_record
from gateway.telemetry.stranger_cap import BURST_S, StrangerCap
from gateway.trace_context import TraceContext
from monitoring.log_reader import Kind, ReadReport, read_records
from monitoring.record_check import check_record
from monitoring.request_log import LogFullError, OnFull, RequestLog, RequestLogConfig
from tests.gateway.telemetry.endings import answered, arrival, refused
from torchkeep import __version__
from torchkeep.schema import Operation

PATIENCE_S = 30.0


def written(directory: Path) -> list[dict[str, Any]]:
    report = ReadReport()
    records = list(read_records(directory, kind=Kind.ALL, report=report))
    assert report.damaged == 0
    assert [fault for record in records for fault in check_record(record)] == []
    return records


def ids(records: list[dict[str, Any]]) -> list[str]:
    return [record["request_id"] for record in records]


def test_the_record_says_what_became_of_the_request(tmp_path: Path) -> None:
    request = arrival(correlation_id="chain", trace=TraceContext("ab" * 16, "cd" * 8, True))

    async def write(log: AccessLog) -> None:
        before = time.time_ns()
        await log.write([answered(request, attempt=2)])
        [record] = written(tmp_path)
        assert before <= record.pop("timestamp_ns") <= time.time_ns()
        assert record == {
            "schema": 1,
            "kind": "access",
            "request_id": "r1",
            "correlation_id": "chain",
            "trace_id": "ab" * 16,
            "protocol": "rest",
            "route": "/v2/models/{model}/infer",
            "operation": "predict",
            "model": "digits",
            "model_version": "1.0",
            "client": "client-anna",
            "code": "OK",
            "http_status": 200,
            "message": "",
            "items": 2,
            "items_ok": 2,
            "bytes_in": 128,
            "verdict": "clean",
            "queue_ms": 1.0,
            "backend_ms": 4.0,
            "total_ms": 6.5,
            "batch_size": 8,
            "attempt": 2,
            "gateway": os.getpid(),
            "code_version": __version__,
        }

    with RequestLog(RequestLogConfig(), directory=tmp_path) as log:
        asyncio.run(write(AccessLog(log, strangers=StrangerCap(1e6), fsync=False)))


def test_a_request_that_hardly_began_has_a_record_too(tmp_path: Path) -> None:
    stranger = arrival(principal=None, model="", version="", operation=None, items=0, bytes_in=0)
    record = access_record(refused(Code.UNAUTHENTICATED, stranger), 1, 2)
    assert check_record(record) == []
    assert (record["code"], record["http_status"]) == ("UNAUTHENTICATED", 401)
    assert (record["client"], record["operation"], record["items_ok"]) == (None, None, 0)
    assert "trace_id" not in record


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_its_name_and_status(code: Code) -> None:
    record = access_record(refused(code), 1, 2)
    assert (record["code"], record["http_status"]) == (code.grpc.name, code.http)


def test_what_callers_chose_is_bounded() -> None:
    long = "x" * 100_000
    record = access_record(
        refused(Code.NOT_FOUND, arrival(model=long, version=long), message=long), 1, 2
    )
    assert len(record["model"]) == len(record["model_version"]) == LONGEST_NAME
    assert len(record["message"]) == LONGEST_MESSAGE


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    model=st.text(max_size=300),
    message=st.text(st.characters(), max_size=40),
    code=st.sampled_from(list(Code)),
    operation=st.none() | st.sampled_from([Operation.PREDICT, Operation.EXPLAIN]),
    items=st.integers(0, 10_000),
    seconds=st.floats(0, 1e6),
)
def test_whatever_was_asked_the_record_is_one_of_the_schema(
    tmp_path_factory: pytest.TempPathFactory,
    model: str,
    message: str,
    code: Code,
    operation: Operation | None,
    items: int,
    seconds: float,
) -> None:
    directory = tmp_path_factory.mktemp("log")
    request = arrival(model=model, operation=operation, items=items)
    with RequestLog(RequestLogConfig(), directory=directory) as log:
        log.write([access_record(refused(code, request, message=message, total_s=seconds), 1, 2)])
    [record] = written(directory)
    assert record["total_ms"] == pytest.approx(seconds * 1_000, abs=0.001)


def test_requests_that_end_together_are_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    write = os.write

    def counted(descriptor: int, data: bytes) -> int:
        writes.append(len(data))
        return write(descriptor, data)

    with RequestLog(RequestLogConfig(), directory=tmp_path) as log:
        log.write([access_record(answered(), 1, 2)])  # opens the segment
        monkeypatch.setattr("monitoring.segment.os.write", counted)
        requests = [answered(arrival(f"r{number}")) for number in range(16)]
        asyncio.run(AccessLog(log, strangers=StrangerCap(1e6), fsync=False).write(requests))
        monkeypatch.undo()
    assert len(writes) == 1
    assert ids(written(tmp_path))[1:] == [f"r{number}" for number in range(16)]


class SlowDisk:
    """Stands in for the flush: each takes until it is let go, and is counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flushes = 0
        self.threads: set[str] = set()
        self.begun = threading.Event()
        self.go_on = threading.Event()
        monkeypatch.setattr("monitoring.segment.os.fdatasync", self)

    def __call__(self, descriptor: int) -> None:
        self.flushes += 1
        self.threads.add(threading.current_thread().name)
        self.begun.set()
        assert self.go_on.wait(PATIENCE_S)


def test_a_flush_never_holds_up_the_loop_and_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)

    async def many(log: AccessLog) -> None:
        first = asyncio.create_task(log.write([answered(arrival("first"))]))
        while not disk.begun.is_set():
            await asyncio.sleep(0.001)  # turns while the disk is busy
        others = [
            asyncio.create_task(log.write([answered(arrival(f"r{number}"))]))
            for number in range(50)
        ]
        await asyncio.sleep(0.05)
        assert not first.done()
        assert not any(other.done() for other in others)
        assert ids(written(tmp_path)) == ["first"]
        disk.go_on.set()
        await asyncio.gather(first, *others)
        assert len(written(tmp_path)) == 51  # on disk before anybody is answered
        await log.close()

    with RequestLog(RequestLogConfig(fsync=True), directory=tmp_path) as log:
        asyncio.run(many(AccessLog(log, strangers=StrangerCap(1e6), fsync=True)))
    assert disk.flushes == 2
    assert threading.current_thread().name not in disk.threads
    assert ids(written(tmp_path))[1:] == [f"r{number}" for number in range(50)]


def test_who_goes_away_during_the_flush_leaves_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)

    async def cancelled(log: AccessLog) -> None:
        first = asyncio.create_task(log.write([answered(arrival("first"))]))
        while not disk.begun.is_set():
            await asyncio.sleep(0.001)
        second = asyncio.create_task(log.write([answered(arrival("second"))]))
        third = asyncio.create_task(log.write([answered(arrival("third"))]))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        disk.go_on.set()
        await third
        assert first.cancelled()
        assert second.cancelled()
        fourth = asyncio.create_task(log.write([answered(arrival("fourth"))]))
        await asyncio.sleep(0)
        fourth.cancel()
        await log.close()  # waits for it

    with RequestLog(RequestLogConfig(fsync=True), directory=tmp_path) as log:
        asyncio.run(cancelled(AccessLog(log, strangers=StrangerCap(1e6), fsync=True)))
    assert ids(written(tmp_path)) == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize("fsync", [False, True])
@pytest.mark.parametrize("on_full", list(OnFull))
def test_a_full_disk_does_what_the_setting_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: bool, on_full: OnFull
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def fill(log: AccessLog) -> list[str]:
        said: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr("monitoring.segment.os.write", full)
            for _ in range(3):
                try:
                    await log.write([answered(arrival("lost")), answered(arrival("lost"))])
                except LogFullError as error:
                    said.append(str(error))
        await log.write([answered(arrival("after"))])
        await log.close()
        return said

    config = RequestLogConfig(fsync=fsync, on_full=on_full)
    with RequestLog(config, directory=tmp_path) as log:
        refusals = asyncio.run(fill(AccessLog(log, strangers=StrangerCap(1e6), fsync=fsync)))
        assert log.dropped == 6
    assert len(refusals) == (3 if on_full is OnFull.REFUSE else 0)
    assert all("No space left on device" in refusal for refusal in refusals)
    [record] = written(tmp_path)
    assert (record["request_id"], record["dropped_before"]) == ("after", 6)


def test_all_who_share_a_failed_flush_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def together(log: AccessLog) -> list[Any]:
        writes = [log.write([answered(arrival(f"r{number}"))]) for number in range(5)]
        ends = await asyncio.gather(*writes, return_exceptions=True)
        abandoned = asyncio.create_task(log.write([answered()]))
        await asyncio.sleep(0)
        abandoned.cancel()
        await log.close()
        return ends

    config = RequestLogConfig(fsync=True, on_full=OnFull.REFUSE)
    with RequestLog(config, directory=tmp_path) as log:
        monkeypatch.setattr("monitoring.segment.os.fdatasync", broken)
        ends = asyncio.run(together(AccessLog(log, strangers=StrangerCap(1e6), fsync=True)))
        monkeypatch.undo()
    assert [type(end) for end in ends] == [LogFullError] * 5
    assert written(tmp_path) == []


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.lists(st.booleans(), max_size=4), max_size=12))
def test_no_record_is_lost_or_doubled_in_shared_flushes(
    tmp_path_factory: pytest.TempPathFactory, writers: list[list[bool]]
) -> None:
    """Each writer writes some records one after the other, and pauses where it is told to."""
    directory = tmp_path_factory.mktemp("log")

    async def write(log: AccessLog, name: int, pauses: list[bool]) -> None:
        for number, pause in enumerate(pauses):
            await log.write([one(f"{name}.{number}")])
            await asyncio.sleep(0.001 if pause else 0)

    async def all_of_them(log: AccessLog) -> None:
        await asyncio.gather(*(write(log, *writer) for writer in enumerate(writers)))
        await log.close()

    def one(name: str) -> Finished:
        return answered(arrival(name))

    with RequestLog(RequestLogConfig(fsync=True), directory=directory) as log:
        asyncio.run(all_of_them(AccessLog(log, strangers=StrangerCap(1e6), fsync=True)))
    expected = [
        f"{name}.{number}" for name, pauses in enumerate(writers) for number in range(len(pauses))
    ]
    assert sorted(ids(written(directory))) == sorted(expected)


def test_strangers_fill_no_log_and_what_is_withheld_is_told(tmp_path: Path) -> None:
    strangers = [
        refused(Code.UNAUTHENTICATED, arrival(request_id=f"s{n}", principal=None))
        for n in range(1_000)
    ]

    async def flood(log: AccessLog) -> None:
        for stranger in strangers:
            await log.write([stranger])
        await log.write([answered(arrival(request_id="anna"))])

    with RequestLog(RequestLogConfig(), directory=tmp_path) as log:
        asyncio.run(flood(AccessLog(log, strangers=StrangerCap(0.1), fsync=False)))
    records = written(tmp_path)
    admitted = round(0.1 * BURST_S)
    assert ids(records) == [f"s{n}" for n in range(admitted)] + ["anna"]
    assert records[-1]["withheld_before"] == 1_000 - admitted
    assert not any("withheld_before" in record for record in records[:-1])


def test_strangers_get_their_places_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("gateway.telemetry.stranger_cap.time.monotonic", lambda: now[0])
    cap = StrangerCap(2.0)
    assert sum(cap.admits() for _ in range(1_000)) == 2 * BURST_S
    now[0] += 3
    assert sum(cap.admits() for _ in range(1_000)) == 6
    now[0] += 1e6
    assert sum(cap.admits() for _ in range(1_000)) == 2 * BURST_S
    assert cap.told() == 3_000 - 2 * 2 * BURST_S - 6
    assert cap.told() == 0
