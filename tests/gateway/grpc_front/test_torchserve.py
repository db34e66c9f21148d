"""TorchServe's own service: our client asks the gateway over gRPC as it asks TorchServe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from gateway.refusal import Code
from handlers.config import ScreeningConfig
from tests.gateway.grpc_front.fronts import Front, front
from tests.handlers.samples import instances, npy, png
from torchkeep.client import Client
from torchkeep.client.stubs.inference_pb2 import PredictionsRequest
from torchkeep.client.stubs.inference_pb2_grpc import InferenceAPIsServiceStub
from torchkeep.data import Splits
from torchkeep.errors import RequestError
from torchkeep.schema import ItemStatus, Operation, Policy

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def images(digits: Splits) -> Images:
    chosen: Images = digits.test.images[:4]
    return chosen


def client(served: Front, key: str = "admin") -> Client:
    return Client(
        f"grpc://127.0.0.1:{served.port}", model="digits", token=served.tokens[key], timeout=20
    )


def test_our_client_needs_no_change(served: Front, images: Images) -> None:
    with client(served) as ours:
        assert ours.health().healthy
        for body, count in (
            (png(images[0]), 1),
            (images[0], 1),
            (images, 4),
            ((images / 255).astype(np.float32), 4),
            ([png(image) for image in images], 4),
        ):
            result = ours.predict(
                body, request_id=f"mine-{count}", correlation_id="trip", session_id="s"
            )
            assert (result.request_id, result.model_version) == (f"mine-{count}", "1.0")
            assert len(result.items) == count
            assert {item.status for item in result.items} == {ItemStatus.OK}
            record = served.last()
            assert (record.code, record.arrival.items) == (Code.OK, count)
            assert record.arrival.correlation_id == "trip"
        explained = ours.explain(images[:2])
        assert [item.attribution.values.shape for item in explained.items] == [(1, 8, 8)] * 2


def test_a_bad_image_is_told_in_the_answer(served: Front, images: Images) -> None:
    with client(served) as ours:
        result = ours.predict([png(images[0]), b"none"])
        assert [item.status for item in result.items] == [ItemStatus.OK, ItemStatus.UNSUPPORTED]
        single = ours.predict(npy(np.full((1, 8, 8), np.nan, np.float32)))
        assert single.items[0].status is ItemStatus.BAD_INPUT
        assert served.last().code is Code.INVALID


def test_a_rejected_image_has_an_answer_too(digits_artifact: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 8, 8)).astype(np.uint8)
    screening = ScreeningConfig(policy=Policy.REJECT)
    with front(digits_artifact, tmp_path, screening=screening) as strict, client(strict) as ours:
        (item,) = ours.predict(noise).items
        assert item.status is ItemStatus.REJECTED
        assert strict.last().code is Code.REJECTED


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (PredictionsRequest(model_name="digits"), "INVALID_ARGUMENT"),
        (PredictionsRequest(model_name="digits", input={"data": b""}), "INVALID_ARGUMENT"),
        (PredictionsRequest(model_name="cats", input={"data": b"x"}), "NOT_FOUND"),
        (
            PredictionsRequest(
                model_name="digits", input={"data": b"x", "operation": b"train\xff"}
            ),
            "INVALID_ARGUMENT",
        ),
        (
            PredictionsRequest(
                model_name="digits", input={"data": b"{}", "content_type": b"a" * 257}
            ),
            "INVALID_ARGUMENT",
        ),
        (
            PredictionsRequest(model_name="digits", input={"data": b"x", "segments": b"{"}),
            "INVALID_ARGUMENT",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(
    served: Front, request_: PredictionsRequest, code: str
) -> None:
    with served.channel() as channel:
        stub = InferenceAPIsServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predictions(request_, metadata=served.metadata(), timeout=20)
    assert caught.value.code().name == code
    assert caught.value.details()
    assert served.last().code.grpc.name == code


def test_a_body_is_opened_by_the_handler(served: Front, images: Images) -> None:
    for body, content_type in (
        (instances(images[0].tolist(), dtype="uint8"), b"application/json"),
        (npy(images), b"application/x-npy"),
        (images.tobytes(), b"application/octet-stream"),
        (images.tobytes(), b""),
    ):
        request = PredictionsRequest(
            model_name="digits", input={"body": body, "content_type": content_type}
        )
        with served.channel() as channel:
            stub = InferenceAPIsServiceStub(channel)
            reply = stub.Predictions(request, metadata=served.metadata("predictor"), timeout=20)
        statuses = {one["status"] for one in orjson.loads(reply.prediction)["predictions"]}
        assert statuses == {"ok"}


def test_permissions_hold_here_too(served: Front, images: Images) -> None:
    with client(served, "predictor") as ours:
        ours.predict(images[0])
        with pytest.raises(RequestError, match="lacks the permission 'explain'"):
            ours.explain(images[0])
        assert served.last().arrival.operation is Operation.EXPLAIN
    with client(served, "observer") as ours, pytest.raises(RequestError, match="'predict'"):
        ours.predict(images[0])


def test_ping_follows_readiness(digits_artifact: Any, tmp_path: Path) -> None:
    with front(digits_artifact, tmp_path) as house, client(house) as ours:
        assert ours.health().healthy
        house.plane.draining = True
        assert not ours.health().healthy
        house.plane.draining = False
        assert house.records() == []
