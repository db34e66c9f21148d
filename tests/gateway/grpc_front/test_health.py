"""The standard health service and server reflection, as other people's tools ask them."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from gateway.refusal import Code
from tests.gateway.grpc_front.fronts import Front, front

SERVICE = "inference.GRPCInferenceService"
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("service", ["", SERVICE, "digits"])
def test_health_needs_no_key_and_leaves_no_record(served: Front, service: str) -> None:
    before = len(served.records())
    with served.channel() as channel:
        stub = HealthStub(channel)
        answer = stub.Check(HealthCheckRequest(service=service), timeout=20)
        assert answer.status == SERVING
        watch = stub.Watch(HealthCheckRequest(service=service))
        assert next(watch).status == SERVING
        watch.cancel()
    assert len(served.records()) == before


def test_a_service_that_nobody_knows(served: Front) -> None:
    with served.channel() as channel:
        stub = HealthStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(HealthCheckRequest(service="cats"), timeout=20)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert SERVICE in caught.value.details()
        watch = stub.Watch(HealthCheckRequest(service="cats"))
        assert next(watch).status == HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\xff", timeout=20)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_health_follows_the_model_and_the_gateway(digits_artifact: Any, tmp_path: Any) -> None:
    with front(digits_artifact, tmp_path) as house, house.channel() as channel:
        stub = HealthStub(channel)
        watch = stub.Watch(HealthCheckRequest(service="digits"))
        assert next(watch).status == SERVING
        house.loop.run(house.server.stop())
        assert next(watch).status == NOT_SERVING
        for service in ("", SERVICE, "digits"):
            assert stub.Check(HealthCheckRequest(service=service)).status == NOT_SERVING
        house.loop.run(house.server.start())
        assert next(watch).status == SERVING
        house.plane.draining = True
        assert next(watch).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as caught:
            next(watch)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert stub.Check(HealthCheckRequest()).status == NOT_SERVING


def test_reflection_lists_and_describes_every_service(served: Front) -> None:
    before = len(served.records())
    asked = [
        ServerReflectionRequest(list_services=""),
        ServerReflectionRequest(file_containing_symbol=SERVICE),
        ServerReflectionRequest(file_by_filename="no such file"),
        ServerReflectionRequest(),
    ]
    with served.channel() as channel:
        stub = ServerReflectionStub(channel)
        metadata = served.metadata("predictor")
        answers = list(stub.ServerReflectionInfo(iter(asked), metadata=metadata, timeout=20))
    services = [service.name for service in answers[0].list_services_response.service]
    assert services == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
        "org.pytorch.serve.grpc.inference.InferenceAPIsService",
    ]
    files = answers[1].file_descriptor_response.file_descriptor_proto
    assert FileDescriptorProto.FromString(files[0]).package == "inference"
    assert answers[2].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert answers[3].error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    served.until(lambda: len(served.told.requests) > before)
    assert [record.code for record in served.records()[before:]] == [Code.OK]


def test_reflection_needs_a_key_and_messages(served: Front) -> None:
    with served.channel() as channel:
        call = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        for metadata, body, code in (
            ((), b"", grpc.StatusCode.UNAUTHENTICATED),
            (served.metadata(), b"\xff", grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                list(call(iter([body]), metadata=metadata, timeout=20))
            assert caught.value.code() is code
            assert served.last().code.grpc is code
