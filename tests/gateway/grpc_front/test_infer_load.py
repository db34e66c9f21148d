"""ModelInfer: deadlines, callers that leave, full queues, many at once."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from numpy.typing import NDArray

from gateway.refusal import Code
from tests.gateway.grpc_front.asking import WHOLE, refused, with_parameter
from tests.gateway.grpc_front.fronts import front
from tests.gateway.grpc_front.requests import outputs, raw
from torchkeep.data import Splits

Images = NDArray[np.uint8]
StatusCode = grpc.StatusCode


@pytest.fixture(scope="module")
def images(digits: Splits) -> Images:
    chosen: Images = digits.test.images[:4]
    return chosen


def test_every_deadline_counts(digits_artifact: Any, tmp_path: Any) -> None:
    with front(digits_artifact, tmp_path) as slow, slow.stub() as stub:
        slow.loop.call(slow.server.gate.clear)
        request = with_parameter("timeout", int64_param=50_000)
        late = refused(slow, request, StatusCode.DEADLINE_EXCEEDED)
        assert "deadline had passed" in late
        text = with_parameter("timeout", string_param="50000")
        assert refused(slow, text, StatusCode.DEADLINE_EXCEEDED) == late
        before = len(slow.records())
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(raw(WHOLE), metadata=slow.metadata(), timeout=0.3)
        assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
        slow.until(lambda: len(slow.told.requests) > before)
        assert [one.code for one in slow.records()[before:]] == [Code.EXPIRED]


def test_who_leaves_is_dropped_and_recorded(digits_artifact: Any, tmp_path: Any) -> None:
    with front(digits_artifact, tmp_path, calls_per_worker=1) as slow, slow.stub() as stub:
        slow.loop.call(slow.server.gate.clear)
        calls = [stub.ModelInfer.future(raw(WHOLE), metadata=slow.metadata()) for _ in range(3)]
        slow.until(lambda: slow.plane.waiting + slow.plane.items_under_way == 3)
        for call in calls:
            call.cancel()
        slow.until(lambda: len(slow.told.requests) == 3)
        assert {one.code for one in slow.records()} == {Code.CANCELLED}
        assert slow.loop.call(lambda: slow.plane.waiting) == 0
        slow.loop.call(slow.server.gate.set)
        assert stub.ModelInfer(raw(WHOLE), metadata=slow.metadata()).model_name == "digits"


def test_a_full_queue_says_when_to_come_back(digits_artifact: Any, tmp_path: Any) -> None:
    with front(digits_artifact, tmp_path, max_queued_items=2) as small, small.stub() as stub:
        small.loop.call(small.server.gate.clear)
        first = stub.ModelInfer.future(raw(WHOLE), metadata=small.metadata())
        small.until(lambda: small.plane.waiting + small.plane.items_under_way == 1)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(raw(WHOLE), metadata=small.metadata(), timeout=20)
        assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
        trailers = dict(caught.value.trailing_metadata())
        assert int(trailers["retry-after"]) >= 1
        status = Status.FromString(trailers["grpc-status-details-bin"])
        assert (status.code, status.message) == (8, caught.value.details())
        told = RetryInfo()
        assert status.details[0].Unpack(told)
        assert 0 < told.retry_delay.ToNanoseconds() <= int(trailers["retry-after"]) * 1e9
        small.loop.call(small.server.gate.set)
        assert first.result().model_name == "digits"


def test_many_at_once_share_calls(digits_artifact: Any, tmp_path: Any, images: Images) -> None:
    with front(digits_artifact, tmp_path) as busy, busy.stub() as stub:
        futures = [
            stub.ModelInfer.future(
                raw(images[i % 4 : i % 4 + 1], id=f"r{i}"), metadata=busy.metadata()
            )
            for i in range(200)
        ]
        labels = [outputs(future.result())["label"][0] for future in futures]
        assert labels == labels[:4] * 50
        assert len(busy.server.calls) < 200
        assert sorted(one.arrival.request_id for one in busy.records()) == sorted(
            f"r{i}" for i in range(200)
        )
