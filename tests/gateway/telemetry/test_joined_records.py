"""The records of gateway and handler together: one request, one log, one trace."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.config import GatewayConfig
from gateway.plane.data_plane import DataPlane
from gateway.question import Question
from gateway.refusal import Code, Refusal
from gateway.telemetry.gateway_telemetry import GatewayTelemetry
from monitoring.log_reader import Kind, find, read_records
from monitoring.record_check import check_record
from monitoring.request_log import OnFull, RequestLog, RequestLogConfig
from tests.gateway.plane.house import House, house, run
from tests.gateway.plane.questions import DIGITS, question
from tests.gateway.telemetry.otlp_receiver import receiver
from tests.handlers.conftest import Bench
from tests.handlers.samples import png

Images = NDArray[np.uint8]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@asynccontextmanager
async def telling(
    it: House, directory: Path, log_config: RequestLogConfig | None = None, **settings: Any
) -> AsyncIterator[DataPlane]:
    """A plane before the same handler that writes to the handler's own directory."""
    log_config = log_config or RequestLogConfig()
    config, upstream = GatewayConfig(**settings), it.server.upstream(DIGITS)
    with RequestLog(log_config, directory=directory) as log:
        telemetry = GatewayTelemetry(log, config, upstream, fsync=log_config.fsync)
        plane = DataPlane(upstream, config, it.backend, telemetry)
        plane.start()
        try:
            await it.until(plane.ready)
            yield plane
        finally:
            await plane.stop()
            await telemetry.close()


def traced(asked: Question) -> Question:
    asked.arrival.traceparent = f"00-{TRACE}-{SPAN}-01"
    return asked


@pytest.mark.parametrize("fsync", [False, True])
def test_every_request_has_one_access_record_and_a_record_an_item(
    bench: Bench, images: Images, tmp_path: Path, fsync: bool
) -> None:
    directory = bench.log.directory

    async def ask(plane: DataPlane, number: int) -> str:
        payload: Any = images[number % 4 : number % 4 + 1]
        if number % 3 == 0:
            payload = [png(images[0]), b"junk"]
        if number % 10 == 9:
            payload = []
        asked = question(payload=payload, request_id=f"r{number}", client=f"c{number % 3}")
        asked.arrival.principal = asked.principal
        try:
            outcome = await plane.infer(asked)
        except Refusal as refusal:
            return refusal.code.grpc.name
        [record] = find(directory, f"r{number}", kind=Kind.ACCESS)  # before the answer
        assert record["items"] == len(outcome)
        return str(outcome.code.grpc.name)

    async def scene() -> None:
        async with (
            house(bench, tmp_path) as it,
            telling(it, directory, RequestLogConfig(fsync=fsync)) as plane,
        ):
            codes = await asyncio.gather(*(ask(plane, number) for number in range(60)))
            access = list(read_records(directory, kind=Kind.ACCESS))
            assert [fault for record in access for fault in check_record(record)] == []
            assert {record["request_id"]: record["code"] for record in access} == {
                f"r{number}": code for number, code in enumerate(codes)
            }
            assert len(access) == 60
            for record in access:
                items = find(directory, record["request_id"])
                answered = record["code"] != "INVALID_ARGUMENT"
                assert len(items) == (record["items"] if answered else 0)
                assert sum(item["status"] == "ok" for item in items) == record["items_ok"]
                assert {item["client"] for item in items} <= {record["client"]}
                assert 0 <= record["queue_ms"] <= record["total_ms"]

    run(scene())


def test_one_trace_leads_through_gateway_and_handler(
    bench: Bench, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    directory = bench.log.directory

    async def scene(endpoint: str) -> None:
        async with (
            house(bench, tmp_path) as it,
            telling(it, directory, otlp_endpoint=endpoint) as plane,
        ):
            await plane.infer(traced(question(payload=images, request_id="callers")))
            await plane.infer(question(payload=images, request_id="ours"))

    with receiver() as collector:
        run(scene(collector.url))
        spans = collector.wait_for(4)
    for request_id in ("callers", "ours"):
        records = find(directory, request_id, kind=Kind.ALL)
        assert len(records) == 5
        [trace_id] = {record["trace_id"] for record in records}
        assert sum(span.trace_id.hex() == trace_id for span in spans) == 2
        assert (trace_id == TRACE) is (request_id == "callers")


def test_without_a_collector_a_callers_trace_is_logged_all_the_same(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    directory = bench.log.directory

    async def scene() -> None:
        async with house(bench, tmp_path) as it, telling(it, directory) as plane:
            await plane.infer(traced(question(payload=images[:1])))
            await plane.infer(question(payload=images[:1], request_id="untraced"))

    run(scene())
    traces = [record["trace_id"] for record in find(directory, "r", kind=Kind.ALL)]
    assert traces == [TRACE, TRACE]
    assert not any("trace_id" in one for one in find(directory, "untraced", kind=Kind.ALL))


@pytest.mark.parametrize("on_full", list(OnFull))
def test_a_full_disk_at_the_gateway(
    bench: Bench,
    images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_full: OnFull,
) -> None:
    directory = tmp_path / "of-the-gateway"
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if b'"kind":"access"' in bytes(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    async def scene() -> None:
        config = RequestLogConfig(on_full=on_full)
        async with house(bench, tmp_path) as it, telling(it, directory, config) as plane:
            with monkeypatch.context() as patch:
                patch.setattr("monitoring.segment.os.write", full)
                if on_full is OnFull.ANSWER:
                    assert len(await plane.infer(question(payload=images))) == 4
                else:
                    with pytest.raises(Refusal, match="cannot be logged") as caught:
                        await plane.infer(question(payload=images))
                    assert caught.value.code is Code.UNAVAILABLE
            assert len(await plane.infer(question(payload=images, request_id="after"))) == 4

    run(scene())
    [record] = read_records(directory, kind=Kind.ACCESS)
    assert (record["request_id"], record["dropped_before"]) == ("after", 1)
