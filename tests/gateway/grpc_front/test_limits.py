"""What the server takes at most, and how it ends."""

from __future__ import annotations

import socket
import threading
from typing import Any

import grpc
import pytest

from gateway.refusal import Code
from tests.gateway.grpc_front.fronts import Front, front
from tests.gateway.grpc_front.requests import raw_of
from torchkeep.client.stubs import open_inference_pb2 as pb


def test_large_messages_pass(served: Front) -> None:
    size = 5 * 2**20
    request = raw_of(1)
    request.raw_input_contents[0] = bytes(size)
    with served.channel(("grpc.max_send_message_length", -1)) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            call(request.SerializeToString(), metadata=served.metadata(), timeout=20)
    assert f"has {size} bytes" in caught.value.details()
    assert served.last().arrival.bytes_in > size
    with served.stub() as stub:
        many = stub.ModelInfer(raw_of(10_000), metadata=served.metadata(), timeout=20)
    assert len(many.raw_output_contents[4]) == 10_000 * 10 * 4


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_inflated(served: Front, compression: Any) -> None:
    with served.stub() as stub:
        answer = stub.ModelInfer(
            raw_of(50), metadata=served.metadata(), compression=compression, timeout=20
        )
    assert answer.model_name == "digits"


def test_a_bomb_is_inflated_no_further_than_a_message_may_be(
    digits_artifact: Any, tmp_path: Any
) -> None:
    unlimited = ("grpc.max_send_message_length", -1)
    with (
        front(digits_artifact, tmp_path, max_body_mib=1) as small,
        small.channel(unlimited) as channel,
    ):
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for compression in (grpc.Compression.Gzip, grpc.Compression.NoCompression):
            body, metadata = bytes(50 * 2**20), small.metadata()
            with pytest.raises(grpc.RpcError) as caught:
                call(body, metadata=metadata, compression=compression, timeout=20)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "larger" in caught.value.details()
        small.until(lambda: len(small.told.requests) == 2)


def test_a_caller_who_never_sends_its_message_is_answered(
    digits_artifact: Any, tmp_path: Any
) -> None:
    with (
        front(digits_artifact, tmp_path, body_timeout_s=0.3) as strict,
        strict.channel() as channel,
    ):
        call = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        never = threading.Event()
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(never.wait, False), metadata=strict.metadata(), timeout=20)
        assert strict.last().code is Code.SLOW
        assert "did not arrive in time" in caught.value.details()
        never.set()


def test_what_is_under_way_is_answered_before_the_end(digits_artifact: Any, tmp_path: Any) -> None:
    with front(digits_artifact, tmp_path) as house, house.stub() as stub:
        house.loop.call(house.server.gate.clear)
        calls = [stub.ModelInfer.future(raw_of(1), metadata=house.metadata()) for _ in range(20)]
        house.until(lambda: house.plane.waiting + house.plane.items_under_way == 20)

        async def end() -> None:
            house.plane.draining = True
            house.server.gate.set()
            await house.front.drain(10.0)

        house.loop.run(end())
        assert {call.result().model_name for call in calls} == {"digits"}
        assert [one.code for one in house.records()] == [Code.OK] * 20
        with pytest.raises(grpc.RpcError) as caught:
            stub.ServerLive(pb.ServerLiveRequest(), timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", house.port), timeout=5)


def test_what_does_not_end_is_cut_off(digits_artifact: Any, tmp_path: Any) -> None:
    with front(digits_artifact, tmp_path) as house, house.stub() as stub:
        house.loop.call(house.server.gate.clear)
        call = stub.ModelInfer.future(raw_of(1), metadata=house.metadata())
        house.until(lambda: house.plane.waiting + house.plane.items_under_way == 1)
        house.loop.run(house.front.drain(0.2))
        with pytest.raises(grpc.RpcError):
            call.result()
        house.until(lambda: len(house.told.requests) == 1)
        assert house.last().code is Code.CANCELLED
