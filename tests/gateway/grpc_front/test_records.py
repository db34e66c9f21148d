"""What the access record says where gRPC says little, and where the front listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from gateway.config import GatewayConfig
from gateway.grpc_front.deadlines import deadline_of
from gateway.grpc_front.server import GrpcFront
from gateway.grpc_front.visit import Visit
from gateway.openinference import metadata
from gateway.refusal import Code
from tests.gateway.grpc_front.fronts import Front
from torchkeep.client.stubs import open_inference_pb2 as pb

INFER = "/inference.GRPCInferenceService/ModelInfer"


def test_a_deadline_that_passes_while_the_message_comes_is_recorded_as_one(served: Front) -> None:
    never, before = threading.Event(), len(served.records())

    def silence() -> Iterator[bytes]:
        never.wait()
        yield from ()

    with served.channel() as channel:
        call = channel.stream_unary(INFER)
        with pytest.raises(grpc.RpcError) as caught:
            call(silence(), metadata=served.metadata("explainer"), timeout=0.4)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        served.until(lambda: len(served.told.requests) > before)
        leaving = call.future(silence(), metadata=served.metadata("explainer"), timeout=20)
        time.sleep(0.05)
        leaving.cancel()
        served.until(lambda: len(served.told.requests) > before + 1)
        never.set()
    assert [record.code for record in served.records()[before:]] == [Code.EXPIRED, Code.CANCELLED]


@pytest.mark.parametrize(("left_s", "lead_s"), [(0.01, 0.002), (0.2, 0.02), (20.0, 0.05)])
def test_a_request_expires_before_its_rpc_does(left_s: float, lead_s: float) -> None:
    visit = Visit.begin("x", {}, left_s)
    assert deadline_of(visit, 60.0) - visit.arrival.received == pytest.approx(left_s - lead_s)


@pytest.mark.parametrize(
    ("method", "maker"),
    [
        ("ServerMetadata", "server_metadata"),
        ("ModelMetadata", "model_metadata"),
        ("ModelConfig", "model_config"),
        ("ModelStatistics", "model_statistics"),
        ("RepositoryIndex", "repository_index"),
    ],
)
def test_an_answer_that_cannot_be_encoded_is_recorded_as_a_fault(
    served: Front, monkeypatch: pytest.MonkeyPatch, method: str, maker: str
) -> None:
    monkeypatch.setattr(metadata, maker, lambda *_, **__: {"no such field": 1, "parameters": {}})
    request = b""
    if method.startswith("Model"):
        request = pb.ModelMetadataRequest(name="digits").SerializeToString()
    before = len(served.records())
    with served.channel() as channel:
        call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            call(request, metadata=served.metadata(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert [record.code for record in served.records()[before:]] == [Code.INTERNAL]


@pytest.mark.parametrize("path", [INFER, "/no.such/Method"])
def test_an_id_is_believed_only_of_a_known_caller(served: Front, path: str) -> None:
    own = (("x-request-id", "somebody-elses"),)
    with served.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"", metadata=own, timeout=20)
    told = dict(caught.value.trailing_metadata())["x-request-id"]
    assert told == served.last().arrival.request_id
    assert told != "somebody-elses"


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_host_is_listened_on(served: Front, host: str) -> None:
    config = GatewayConfig(host=host, grpc_port=0, plain_on_network=True)
    other = GrpcFront(served.plane, served.keys, config)
    port = served.loop.run(other.start())
    try:
        with grpc.insecure_channel(f"[::1]:{port}") as channel:
            live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            assert pb.ServerLiveResponse.FromString(live(b"", timeout=20)).live
    finally:
        served.loop.run(other.drain(0.0))
