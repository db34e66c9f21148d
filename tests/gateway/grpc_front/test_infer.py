"""ModelInfer: tensors of every kind in and out."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from handlers.config import ScreeningConfig
from tests.gateway.grpc_front.asking import ask, refused
from tests.gateway.grpc_front.fronts import Front, front
from tests.gateway.grpc_front.requests import bfloat16, files, outputs, raw, typed
from tests.handlers.samples import npy, png
from torchkeep.data import Splits
from torchkeep.schema import Disclose, Operation, Policy

Images = NDArray[np.uint8]
StatusCode = grpc.StatusCode


@pytest.fixture(scope="module")
def images(digits: Splits) -> Images:
    chosen: Images = digits.test.images[:4]
    return chosen


def test_raw_and_typed_requests_are_answered_alike_and_in_kind(
    served: Front, images: Images
) -> None:
    first, second = ask(served, raw(images, id="a 1")), ask(served, typed(images, id="a 1"))
    for answer in (first, second):
        assert (answer.model_name, answer.model_version, answer.id) == ("digits", "1.0", "a 1")
        assert [tensor.name for tensor in answer.outputs] == [
            *("item_status", "label", "class_index", "probability", "probabilities", "verdict")
        ]
        assert answer.parameters["items_failed"].int64_param == 0
    assert len(first.raw_output_contents) == len(first.outputs)
    assert not any(tensor.HasField("contents") for tensor in first.outputs)
    assert not second.raw_output_contents
    mine, other = outputs(first), outputs(second)
    assert mine["item_status"] == other["item_status"] == ["ok"] * 4
    assert mine["label"] == other["label"]
    assert mine["class_index"].dtype == np.dtype("<i4")
    np.testing.assert_allclose(mine["probabilities"], other["probabilities"], rtol=1e-4)
    np.testing.assert_allclose(mine["probability"], mine["probabilities"].max(axis=1))
    assert mine["label"] == [str(index) for index in mine["class_index"]]


def test_every_datatype_carries_the_same_images(served: Front, images: Images) -> None:
    plain = outputs(ask(served, raw(images)))
    unit = (images / 255).astype("<f4")
    half = raw(unit.astype("<f2"))
    cut = raw(unit)
    cut.inputs[0].datatype = "BF16"
    cut.raw_input_contents[0] = bfloat16(unit)
    blobs = list(map(png, images))
    mixed = [blobs[0], npy(images[1]), npy(unit[2]), blobs[3]]
    requests = {
        "FP32 raw": raw(unit),
        "FP32 typed": typed(unit),
        "FP16": half,
        "BF16": cut,
        "BYTES raw": files(blobs, as_raw=True),
        "BYTES typed": files(blobs, as_raw=False),
        "BYTES mixed": files(mixed, as_raw=True),
    }
    for name, request in requests.items():
        told = outputs(ask(served, request))
        assert told["label"] == plain["label"], name
        tolerance = 0.05 if name == "BF16" else 0.005
        np.testing.assert_allclose(
            told["probabilities"], plain["probabilities"], atol=tolerance, err_msg=name
        )


def test_explanations_are_a_parameter_away(served: Front, images: Images) -> None:
    request = raw(images[:2])
    request.parameters["operation"].string_param = "explain"
    answer = ask(served, request)
    told = outputs(answer)
    assert told["attribution"].shape == (2, 1, 8, 8)
    assert np.isfinite(told["attribution"]).all()
    assert answer.parameters["attribution_method"].string_param
    assert served.last().arrival.operation is Operation.EXPLAIN
    request.outputs.add(name="attribution")
    assert list(outputs(ask(served, request))) == ["attribution"]


def test_outputs_may_be_chosen(served: Front, images: Images) -> None:
    request = raw(images)
    for name in ("label", "message"):
        request.outputs.add(name=name)
    told = outputs(ask(served, request))
    assert list(told) == ["label", "message"]
    assert told["message"] == [""] * 4


def test_one_bad_image_costs_its_neighbours_nothing(served: Front, images: Images) -> None:
    told = outputs(ask(served, files([png(images[0]), b"none", png(images[2])], as_raw=True)))
    assert told["item_status"] == ["ok", "unsupported_media_type", "ok"]
    assert told["message"][1] == "the item is no PNG, JPEG, WebP or npy"
    assert told["class_index"][1] == -1
    assert np.isnan(told["probability"][1])
    assert np.isnan(told["probabilities"][1]).all()


def test_a_single_bad_image_is_the_status(served: Front, images: Images) -> None:
    message = refused(served, files([b"none"], as_raw=True), StatusCode.INVALID_ARGUMENT)
    assert message == "the item is no PNG, JPEG, WebP or npy"
    hollow = np.full((1, 1, 8, 8), np.nan, dtype="<f4")
    message = refused(served, raw(hollow), StatusCode.INVALID_ARGUMENT)
    assert message == "pixels are NaN or infinite; expected 0 to 1"


def test_a_rejected_image_is_a_failed_precondition(
    digits_artifact: Any, tmp_path: Any, images: Images
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8)).astype("|u1")
    screening = ScreeningConfig(policy=Policy.REJECT, disclose=Disclose.FULL)
    with front(digits_artifact, tmp_path, screening=screening) as strict:
        message = refused(strict, raw(noise), StatusCode.FAILED_PRECONDITION)
        assert message.startswith("the item was rejected")
        answer = ask(strict, raw(np.concatenate([noise, images[:1]])))
        told = outputs(answer)
        assert told["item_status"][0] == "rejected"
        assert told["verdict"][0] == "suspicious"
        assert told["score"][0] > answer.parameters["threshold"].double_param
