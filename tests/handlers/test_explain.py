"""Explanations attribute the predicted class, and are complete."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handlers import service
from handlers.config import LimitsConfig, ScreeningConfig
from tests.handlers.conftest import Bench, MakeBench, read
from tests.handlers.samples import b64, instances, png
from torchkeep.schema import Operation, Policy

RAW = "application/octet-stream"
Images = NDArray[np.uint8]


def attribution(item: dict[str, Any]) -> NDArray[np.float32]:
    told = item["attribution"]
    assert (told["method"], told["dtype"]) == ("integrated_gradients", "float32")
    return np.frombuffer(base64.b64decode(told["data"]), "<f4").reshape(told["shape"])


def test_attributions_sum_up_to_the_rise_of_the_predicted_logit(
    make_bench: MakeBench, images: Images
) -> None:
    bench = make_bench(limits=LimitsConfig(explain_steps=200))
    answer = bench.ask(images.tobytes(), RAW, operation=Operation.EXPLAIN)
    with torch.no_grad():
        logits = bench.model.classifier(torch.from_numpy(images / np.float32(255))).numpy()
        black = bench.model.classifier(torch.zeros(1, 1, 8, 8)).numpy()[0]
    for place, item in enumerate(answer["predictions"]):
        values = attribution(item)
        assert values.shape == (1, 8, 8)
        assert item["class_index"] == logits[place].argmax()
        rises = logits[place] - black
        off = np.abs(rises - values.sum())
        assert off.argmin() == item["class_index"]
        assert off.min() < 0.05 * np.abs(rises).max()


def test_an_explanation_carries_the_prediction_too(bench: Bench, images: Images) -> None:
    explained = bench.ask(png(images[0]), operation=Operation.EXPLAIN)["predictions"][0]
    predicted = bench.ask(png(images[0]))["predictions"][0]
    assert "attribution" not in predicted
    del explained["attribution"]
    assert explained == predicted
    first, second = bench.records()
    assert first["request_type"]["operation"] == "explain"
    assert second["request_type"]["operation"] == "predict"


def test_too_many_items_to_explain_are_refused(make_bench: MakeBench, images: Images) -> None:
    bench = make_bench(limits=LimitsConfig(max_explain_items=3))
    response = bench.send(images.tobytes(), RAW, operation=Operation.EXPLAIN)
    assert response.http_status == 413
    assert read(response)["error"]["message"] == (
        "4 items to explain; at most 3 are taken in one request"
    )
    assert bench.send(images.tobytes(), RAW).http_status == 200


def test_explanations_can_be_switched_off(make_bench: MakeBench, images: Images) -> None:
    bench = make_bench(limits=LimitsConfig(max_explain_items=0))
    response = bench.send(png(images[0]), operation=Operation.EXPLAIN)
    assert response.http_status == 415
    assert read(response)["error"]["message"] == "explanations are switched off"
    assert bench.send(png(images[0])).http_status == 200


def test_a_bad_neighbour_has_no_explanation_and_takes_none_away(
    bench: Bench, images: Images
) -> None:
    body = instances(b64(png(images[0])), b64(b"?"), images[1].tolist())
    items = bench.ask(body, operation=Operation.EXPLAIN)["predictions"]
    assert ["attribution" in item for item in items] == [True, False, True]
    alone = bench.ask(images[1].tobytes(), RAW, operation=Operation.EXPLAIN)["predictions"][0]
    np.testing.assert_allclose(attribution(items[2]), attribution(alone), atol=1e-4)


def test_a_rejected_item_is_not_explained(make_bench: MakeBench, images: Images) -> None:
    bench = make_bench(screening=ScreeningConfig(policy=Policy.REJECT), threshold=-1.0)
    response = bench.send(png(images[0]), operation=Operation.EXPLAIN)
    assert response.http_status == 422
    assert "attribution" not in read(response)["predictions"][0]


def test_an_explanation_that_fails_is_an_error_of_its_item(
    bench: Bench, images: Images, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(service, "explain", explode)
    response = bench.send(png(images[0]), operation=Operation.EXPLAIN)
    assert response.http_status == 500
    assert b"secret" not in response.body
    assert "secret" in caplog.text
    (item,) = read(response)["predictions"]
    assert (item["status"], item["error"]) == ("error", "the explanation of this item failed")
    assert "label" not in item
