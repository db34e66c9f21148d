"""Callers that stall, with a key and without, shut nobody else out and hold little."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from gateway.config import GatewayConfig
from gateway.grpc_front import looks, reads, server
from gateway.grpc_front.reads import KeyedReads, OpenReads
from gateway.refusal import Code, Refusal
from tests.gateway.grpc_front.asking import WHOLE, ask
from tests.gateway.grpc_front.fronts import Front, front
from tests.gateway.grpc_front.requests import raw
from torchkeep.client.stubs import open_inference_pb2 as pb

INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
READY = "/inference.GRPCInferenceService/ServerReady"
PING = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


def silence(end: threading.Event) -> Iterator[bytes]:
    end.wait()
    yield from ()


@contextmanager
def stalled(served: Front, path: str, count: int, **options: Any) -> Iterator[list[Any]]:
    """Calls that never send their message."""
    never = threading.Event()
    with served.channel() as channel:
        open_call = channel.stream_stream(path)
        try:
            yield [open_call(silence(never), **options) for _ in range(count)]
        finally:
            never.set()


def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    code: grpc.StatusCode = caught.value.code()
    return code


@pytest.mark.parametrize("path", [LIVE, READY, PING])
def test_what_is_empty_is_not_read(served: Front, path: str) -> None:
    with stalled(served, path, 1, timeout=10) as (call,):
        assert next(call)
    with served.channel() as channel:
        assert channel.unary_unary(path)(bytes(2**20), timeout=10)


@pytest.mark.parametrize("path", [CHECK, WATCH])
def test_without_a_key_messages_are_small_and_there(served: Front, path: str) -> None:
    start = time.monotonic()
    with stalled(served, path, 1, timeout=10) as (call,):
        assert code_of(call) is Code.SLOW.grpc
    assert time.monotonic() - start < 5
    with served.channel() as channel:
        body = HealthCheckRequest(service="x" * 5_000).SerializeToString()
        call = channel.unary_stream(path)(body, timeout=10)
        assert code_of(call) is grpc.StatusCode.OUT_OF_RANGE


def test_without_a_key_who_stalls_gives_way(served: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "OPEN_READ_S", 15.0)
    with stalled(served, CHECK, reads.OPEN_READS + 8, timeout=3) as calls:
        with served.channel() as channel:
            answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=2)
        assert answer.status == HealthCheckResponse.SERVING
        codes = [code_of(call) for call in calls]
    assert codes.count(Code.SLOW.grpc) in (8, 9)
    assert codes.count(grpc.StatusCode.DEADLINE_EXCEEDED) == len(codes) - codes.count(
        Code.SLOW.grpc
    )


def test_watchers_are_few_and_leave_room_behind(
    served: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "MOST_WATCHERS", 3)
    with served.channel() as channel:
        watch = HealthStub(channel).Watch
        watches = [watch(HealthCheckRequest()) for _ in range(3)]
        assert [next(each).status for each in watches] == [HealthCheckResponse.SERVING] * 3
        assert code_of(watch(HealthCheckRequest())) is grpc.StatusCode.RESOURCE_EXHAUSTED
        for each in watches:
            each.cancel()
        deadline = time.monotonic() + 10
        while True:
            try:
                again = watch(HealthCheckRequest(), timeout=10)
                assert next(again).status == HealthCheckResponse.SERVING
                break
            except grpc.RpcError:
                assert time.monotonic() < deadline
        again.cancel()


def test_many_watchers_cost_one_look(served: Front) -> None:
    looked: list[float] = []
    real = served.plane.version_ready

    def counted(version: Any) -> bool:
        looked.append(time.monotonic())
        return real(version)

    with served.channel() as channel:
        watches = [HealthStub(channel).Watch(HealthCheckRequest()) for _ in range(20)]
        for each in watches:
            next(each)
        served.plane.version_ready = counted  # type: ignore[method-assign]
        time.sleep(1.0)
        served.plane.version_ready = real  # type: ignore[method-assign]
        for each in watches:
            each.cancel()
    assert 1 <= len(looked) <= 8


def test_a_watch_that_says_nothing_does_not_outlast_the_gateway(served: Front) -> None:
    served.plane.draining = True
    try:
        with stalled(served, WATCH, 1, timeout=10) as (call,):
            assert code_of(call) is grpc.StatusCode.UNAVAILABLE
    finally:
        served.plane.draining = False


def test_with_a_key_who_stalls_shuts_nobody_out(digits_artifact: Any, tmp_path: Any) -> None:
    with (
        front(digits_artifact, tmp_path, body_timeout_s=8.0) as house,
        stalled(house, INFER, 60, metadata=house.metadata("predictor"), timeout=20) as calls,
    ):
        assert ask(house, raw(WHOLE)).model_name == "digits"
        assert ask(house, raw(WHOLE), "predictor").model_name == "digits"
        codes = [code_of(call) for call in calls]
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 58
        assert codes.count(Code.SLOW.grpc) == 2
        house.until(lambda: len(house.told.requests) == 62)
        assert ask(house, raw(WHOLE), "predictor").model_name == "digits"


def test_slow_reads_are_shared_between_clients() -> None:
    async def work() -> list[Code | None]:
        keyed = KeyedReads(GatewayConfig(max_queued_mib=8, max_body_mib=2, body_timeout_s=0.6))

        async def stall(_: float | None) -> bytes:
            await asyncio.sleep(0.3)
            return b"x"

        async def code(client: str) -> Code | None:
            try:
                assert await keyed.first(stall, client) == b"x"
            except Refusal as refusal:
                return refusal.code
            return None

        first = await asyncio.gather(*map(code, "aaab"))
        return [*first, *await asyncio.gather(*map(code, "aa"))]

    ok = None
    assert asyncio.run(work()) == [ok, ok, Code.BUSY, ok, ok, ok]


def test_a_read_that_never_ends_gives_its_place_back() -> None:
    async def work() -> None:
        keyed, opened = KeyedReads(GatewayConfig(body_timeout_s=0.3)), OpenReads()

        async def never(_: float | None) -> bytes:
            await asyncio.sleep(60)
            return b""

        async def at_once(_: float | None) -> bytes:
            return b"y"

        for _ in range(2):
            with pytest.raises(Refusal, match="did not arrive in time"):
                await keyed.first(never, "a")
        gone = [asyncio.create_task(keyed.first(never, str(i))) for i in range(40)]
        gone += [asyncio.create_task(opened.first(never)) for _ in range(40)]
        await asyncio.sleep(0.05)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert [await keyed.first(at_once, "a"), await opened.first(at_once)] == [b"y", b"y"]

    asyncio.run(work())


def test_a_connection_offers_128_streams(served: Front) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as raw_socket:
        raw_socket.sendall(preface)
        head = raw_socket.recv(9, socket.MSG_WAITALL)
        assert head[3] == 4  # SETTINGS
        body = raw_socket.recv(int.from_bytes(head[:3], "big"), socket.MSG_WAITALL)
    told = dict(struct.iter_unpack(">HI", body))
    assert told[3] == 128  # MAX_CONCURRENT_STREAMS


def test_a_burst_on_a_new_connection_is_answered(served: Front) -> None:
    with served.channel(("grpc.use_local_subchannel_pool", 1)) as channel:
        live = channel.unary_unary(
            LIVE, pb.ServerLiveRequest.SerializeToString, pb.ServerLiveResponse.FromString
        )
        calls = [live.future(pb.ServerLiveRequest(), timeout=20) for _ in range(1_000)]
        assert all(call.result().live for call in calls)


def test_a_connection_does_not_last_for_ever(
    digits_artifact: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LONGEST_CONNECTION_S", 0.5)
    short = {"body_timeout_s": 0.2, "request_timeout_s": 0.2, "send_timeout_s": 0.2}
    with front(digits_artifact, tmp_path, **short) as house, house.channel() as channel:
        start = time.monotonic()
        watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=20)
        assert next(watch).status
        assert code_of(watch) is grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - start < 10
