from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.config import GatewayConfig
from gateway.finished import Telemetry
from gateway.refusal import Code
from gateway.telemetry.gateway_telemetry import NOT_LOGGED, GatewayTelemetry
from gateway.telemetry.metrics import Gauges
from gateway.upstream import Upstream
from monitoring.log_reader import Kind, read_records
from monitoring.request_log import LogFullError, OnFull, RequestLog, RequestLogConfig
from tests.gateway.plane.questions import DIGITS
from tests.gateway.telemetry.endings import answered, arrival, refused
from tests.gateway.telemetry.otlp_receiver import attributes, receiver
from tests.gateway.telemetry.test_tracing import SAMPLED, TRACE
from torchkeep.errors import SettingsError

UPSTREAM = Upstream(
    http_address="127.0.0.1:1",
    token_file="none",  # noqa: S106 - a path
    envelope_key="none",
    models=(DIGITS,),
)


def telling(
    use: Callable[[GatewayTelemetry], Awaitable[None]],
    directory: Path,
    *,
    config: GatewayConfig | None = None,
    log_config: RequestLogConfig | None = None,
) -> None:
    log_config = log_config or RequestLogConfig()

    async def run(log: RequestLog) -> None:
        telemetry = GatewayTelemetry(
            log, config or GatewayConfig(), UPSTREAM, fsync=log_config.fsync
        )
        await use(telemetry)
        await telemetry.close()

    with RequestLog(log_config, directory=directory) as log:
        asyncio.run(run(log))


def counted(telemetry: GatewayTelemetry, code: str) -> bool:
    text = telemetry.metrics.exposition()[0].decode()
    return f'torchkeep_requests_total{{code="{code}"' in text


def test_it_is_what_the_data_plane_asks_for(tmp_path: Path) -> None:
    async def use(telemetry: GatewayTelemetry) -> None:
        asked: Telemetry = telemetry
        await asked.finished([])
        telemetry.watch(
            Gauges(
                queued_items=lambda: 5,
                queued_bytes=int,
                calls=int,
                items_under_way=int,
                ready=bool,
            )
        )
        assert b"torchkeep_queued_items 5.0" in telemetry.metrics.exposition()[0]

    telling(use, tmp_path)


def test_a_request_is_logged_counted_and_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    async def use(telemetry: GatewayTelemetry) -> None:
        request = arrival(traceparent=SAMPLED)
        telemetry.begin(request)
        await telemetry.finished([answered(request), refused(Code.BUSY, arrival("r2"))])
        ids = [record["request_id"] for record in read_records(tmp_path, kind=Kind.ACCESS)]
        assert ids == ["r1", "r2"]  # before anybody is answered
        assert counted(telemetry, "OK")
        assert counted(telemetry, "RESOURCE_EXHAUSTED")

    with receiver() as collector:
        telling(use, tmp_path, config=GatewayConfig(otlp_endpoint=collector.url))
        spans = collector.wait_for(2)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert "torchkeep.request_id" in attributes(spans[0])
    first, second = read_records(tmp_path, kind=Kind.ACCESS)
    assert first["trace_id"] == TRACE
    assert "trace_id" not in second


def test_what_is_refused_before_it_began_keeps_its_trace(tmp_path: Path) -> None:
    async def use(telemetry: GatewayTelemetry) -> None:
        stranger = arrival(traceparent=SAMPLED, principal=None)
        await telemetry.finished([refused(Code.UNAUTHENTICATED, stranger)])

    telling(use, tmp_path)
    [record] = read_records(tmp_path, kind=Kind.ACCESS)
    assert record["trace_id"] == TRACE


@pytest.mark.parametrize("fsync", [False, True])
@pytest.mark.parametrize("on_full", list(OnFull))
def test_a_full_disk_is_counted_as_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_full: OnFull, fsync: bool
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def use(telemetry: GatewayTelemetry) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("monitoring.segment.os.write", full)
            if on_full is OnFull.REFUSE:
                with pytest.raises(LogFullError):
                    await telemetry.finished([answered()])
            else:
                await telemetry.finished([answered()])
        refusing = on_full is OnFull.REFUSE
        assert counted(telemetry, NOT_LOGGED.grpc.name) is refusing
        assert counted(telemetry, "OK") is not refusing
        lost = b"torchkeep_access_records_lost_total 1.0"
        assert lost in telemetry.metrics.exposition()[0]

    telling(use, tmp_path, log_config=RequestLogConfig(on_full=on_full, fsync=fsync))


def test_who_goes_away_during_the_flush_is_counted(tmp_path: Path) -> None:
    async def use(telemetry: GatewayTelemetry) -> None:
        telling = asyncio.create_task(telemetry.finished([refused(Code.CANCELLED)]))
        await asyncio.sleep(0)
        telling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await telling
        assert counted(telemetry, "CANCELLED")

    telling(use, tmp_path, log_config=RequestLogConfig(fsync=True))
    [record] = read_records(tmp_path, kind=Kind.ACCESS)
    assert record["code"] == "CANCELLED"


def test_a_wrong_endpoint_is_a_wrong_setting(tmp_path: Path) -> None:
    async def never(telemetry: GatewayTelemetry) -> None: ...

    with pytest.raises(SettingsError, match="otlp_endpoint"):
        telling(never, tmp_path, config=GatewayConfig(otlp_endpoint="localhost"))
