"""A request to infer, sent and answered or refused."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from tests.gateway.grpc_front.fronts import Front
from tests.gateway.grpc_front.requests import raw
from torchkeep.client.stubs import open_inference_pb2 as pb

WHOLE = np.zeros((1, 1, 8, 8), dtype="|u1")


def ask(served: Front, request: Any, key: str = "admin", **metadata: str) -> Any:
    with served.stub() as stub:
        return stub.ModelInfer(request, metadata=served.metadata(key, **metadata), timeout=20)


def refused(
    served: Front, request: Any, code: grpc.StatusCode, key: str = "admin", **metadata: str
) -> str:
    """Return the message of a request that is refused with that code and leaves one record."""
    before = len(served.records())
    with pytest.raises(grpc.RpcError) as caught:
        ask(served, request, key, **metadata)
    assert caught.value.code() is code, caught.value.details()
    records = served.records()[before:]
    assert [record.code.grpc for record in records] == [code]
    details: str = caught.value.details()
    assert details
    assert "\n" not in details
    return details


def with_parameter(name: str, **value: Any) -> pb.ModelInferRequest:
    request = raw(WHOLE)
    request.parameters[name].CopyFrom(pb.InferParameter(**value))
    return request
