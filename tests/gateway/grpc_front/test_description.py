"""What the server says of itself and its models, to whom, and what it does not offer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from gateway.grpc_front.not_offered import INSTEAD
from gateway.refusal import Code
from tests.gateway.grpc_front.fronts import Front
from tests.gateway.grpc_front.requests import raw
from torchkeep import __version__
from torchkeep.client.stubs import open_inference_pb2 as pb
from torchkeep.client.stubs.open_inference_pb2_grpc import GRPCInferenceServiceStub

StatusCode = grpc.StatusCode


@pytest.fixture
def stub(served: Front) -> Iterator[GRPCInferenceServiceStub]:
    with served.stub() as made:
        yield made


def test_the_server_is_live_and_ready_without_a_key_or_a_record(served: Front, stub: Any) -> None:
    before = len(served.records())
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=20).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=20).ready
    assert len(served.records()) == before


def test_metadata_is_there_for_any_key(served: Front, stub: Any) -> None:
    metadata = served.metadata("predictor")
    server = stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=metadata)
    assert (server.name, server.version) == ("torchkeep", __version__)
    assert "binary_tensor_data" in server.extensions
    for version in ("", "1.0"):
        request = pb.ModelMetadataRequest(name="digits", version=version)
        model = stub.ModelMetadata(request, metadata=metadata)
        assert (model.name, list(model.versions)) == ("digits", ["1.0"])
        assert model.platform == "pytorch_torchserve"
        (image,) = model.inputs
        assert (image.name, image.datatype, list(image.shape)) == ("image", "UINT8", [-1, 1, 8, 8])
        told = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in model.outputs}
        assert told["label"] == ("BYTES", [-1])
        assert told["probabilities"] == ("FP32", [-1, 10])
        assert model.properties["screened"] == "true"
        assert model.properties["max_items"] == "10000"
        ready = pb.ModelReadyRequest(name="digits", version=version)
        assert stub.ModelReady(ready, metadata=metadata).ready
        record = served.last()
        assert (record.code, record.arrival.model) == (Code.OK, "digits")
        assert record.arrival.route == "inference.GRPCInferenceService/ModelReady"


def test_an_answer_has_the_outputs_that_the_metadata_tells(served: Front, stub: Any) -> None:
    metadata = served.metadata()
    told = stub.ModelMetadata(pb.ModelMetadataRequest(name="digits"), metadata=metadata)
    known = {tensor.name: tensor for tensor in told.outputs}
    answer = stub.ModelInfer(raw(np.zeros((2, 1, 8, 8), "|u1")), metadata=metadata, timeout=20)
    for tensor in answer.outputs:
        assert known[tensor.name].datatype == tensor.datatype
        assert [2, *known[tensor.name].shape[1:]] == list(tensor.shape)


def test_configuration_statistics_and_index_are_for_observers(served: Front, stub: Any) -> None:
    observer = served.metadata("observer")
    config = stub.ModelConfig(pb.ModelConfigRequest(name="digits"), metadata=observer).config
    assert (config.name, config.backend, config.max_batch_size) == ("digits", "torchserve", 10_000)
    assert (config.input[0].data_type, list(config.input[0].dims)) == (pb.TYPE_UINT8, [1, 8, 8])
    assert config.instance_group[0].kind == pb.ModelInstanceGroup.KIND_CPU
    assert config.parameters["version"].string_value == "1.0"
    stub.ModelInfer(raw(np.zeros((3, 1, 8, 8), "|u1")), metadata=served.metadata(), timeout=20)
    for request in (
        pb.ModelStatisticsRequest(),
        pb.ModelStatisticsRequest(name="digits"),
        pb.ModelStatisticsRequest(name="digits", version="1.0"),
    ):
        (stats,) = stub.ModelStatistics(request, metadata=observer).model_stats
        assert (stats.name, stats.version) == ("digits", "1.0")
        assert stats.inference_count >= 3
        assert stats.inference_stats.success.ns > 0
        assert {batch.batch_size for batch in stats.batch_stats} >= {3}
    for ready in (False, True):
        request = pb.RepositoryIndexRequest(ready=ready)
        (model,) = stub.RepositoryIndex(request, metadata=observer).models
        assert (model.name, model.version, model.state) == ("digits", "1.0", "READY")
    asks = {
        "ModelConfig": pb.ModelConfigRequest(name="digits"),
        "ModelStatistics": pb.ModelStatisticsRequest(),
        "RepositoryIndex": pb.RepositoryIndexRequest(),
    }
    for name, request in asks.items():
        with pytest.raises(grpc.RpcError) as caught:
            getattr(stub, name)(request, metadata=served.metadata("predictor"))
        assert caught.value.code() is StatusCode.PERMISSION_DENIED
        assert served.last().code is Code.FORBIDDEN


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ModelMetadata", pb.ModelMetadataRequest(name="cats")),
        ("ModelReady", pb.ModelReadyRequest(name="digits", version="9")),
        ("ModelConfig", pb.ModelConfigRequest(name="")),
        ("ModelStatistics", pb.ModelStatisticsRequest(name="cats")),
        ("ModelStatistics", pb.ModelStatisticsRequest(version="1.0")),
    ],
)
def test_what_is_not_served_is_not_found(
    served: Front, stub: Any, method: str, request_: Any
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(request_, metadata=served.metadata(), timeout=20)
    assert caught.value.code() is StatusCode.NOT_FOUND
    assert caught.value.details()
    assert served.last().code is Code.NOT_FOUND


@pytest.mark.parametrize("method", INSTEAD)
def test_what_is_not_offered_names_the_alternative(served: Front, method: str) -> None:
    before = len(served.records())
    with served.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        list(channel.stream_stream(f"/{method}")(iter([b""]), metadata=served.metadata()))
    assert (caught.value.code(), caught.value.details()) == (
        StatusCode.UNIMPLEMENTED,
        INSTEAD[method],
    )
    (record,) = served.records()[before:]
    assert (record.code, record.arrival.route) == (Code.UNIMPLEMENTED, method)


@pytest.mark.parametrize(
    "path", ["/inference.GRPCInferenceService/Nothing", "/a/b", "/", "/x" * 99]
)
def test_a_method_that_nobody_knows_is_unimplemented_and_recorded(served: Front, path: str) -> None:
    before = len(served.records())
    with served.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"", metadata=served.metadata(), timeout=20)
    assert caught.value.code() is StatusCode.UNIMPLEMENTED
    assert caught.value.details() == "there is no such method; reflection lists those there are"
    (record,) = served.records()[before:]
    assert (record.code, record.arrival.route) == (Code.UNIMPLEMENTED, "unknown")


@pytest.mark.parametrize("method", ["ServerMetadata", "ModelReady", "ModelConfig", "ModelInfer"])
def test_without_a_key_nothing_is_told(served: Front, stub: Any, method: str) -> None:
    request = getattr(pb, f"{method}Request")()
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(request, timeout=20)
    assert caught.value.code() is StatusCode.UNAUTHENTICATED
    assert served.last().code is Code.UNAUTHENTICATED
