"""Policies and disclosure: what becomes of a suspicious item, and who is told what."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handlers.config import LimitsConfig, ScreeningConfig
from tests.handlers.conftest import Bench, MakeBench, read
from tests.handlers.samples import png
from torchkeep.client.answer import parse_answer
from torchkeep.errors import SettingsError
from torchkeep.schema import Disclose, Policy

RAW = "application/octet-stream"
Images = NDArray[np.uint8]

ALL_SUSPICIOUS, NONE_SUSPICIOUS = -1.0, 1e9
TOLD = {
    Disclose.NONE: None,
    Disclose.VERDICT: {"verdict"},
    Disclose.FULL: {"verdict", "score", "p_value", "threshold"},
}


def blind_detector(bench: Bench) -> None:
    """Make the first head compute NaN, as a damaged or overflowing one would."""
    with torch.no_grad():
        for tensor in [*bench.model.heads[0].parameters(), *bench.model.heads[0].buffers()]:
            if tensor.is_floating_point():
                tensor.fill_(math.nan)


def blind_classifier(bench: Bench) -> None:
    with torch.no_grad():
        bench.model.classifier.head.bias.fill_(math.nan)


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("disclose", Disclose)
@pytest.mark.parametrize("state", ["clean", "suspicious", "failed"])
def test_every_policy_and_disclosure(
    make_bench: MakeBench, images: Images, policy: Policy, disclose: Disclose, state: str
) -> None:
    bench = make_bench(
        screening=ScreeningConfig(policy=policy, disclose=disclose),
        threshold=ALL_SUSPICIOUS if state == "suspicious" else NONE_SUSPICIOUS,
    )
    if state == "failed":
        blind_detector(bench)
    response = bench.send(png(images[0]))
    (item,) = read(response)["predictions"]

    rejected = policy is Policy.REJECT and state != "clean"
    assert response.http_status == (422 if rejected else 200)
    assert item["status"] == ("rejected" if rejected else "ok")
    assert ("label" in item) == ("probabilities" in item) == (not rejected)
    assert ("error" in item) == rejected

    told = None if policy is Policy.OBSERVE else TOLD[disclose]
    assert (item["screening"].keys() if "screening" in item else None) == told
    if told:
        assert item["screening"]["verdict"] == state
    if rejected and not told:
        assert item["error"] == "the item was not accepted"
    elif rejected:
        assert ("could not judge" in item["error"]) == (state == "failed")

    parsed = parse_answer(response.body, items=1).items[0]
    assert (parsed.status, parsed.screening is not None) == (item["status"], told is not None)

    (record,) = bench.records()
    assert record["screening"]["verdict"] == state
    assert record["screening"]["policy"] == policy
    assert record["status"] == item["status"]
    assert len(record["prediction"]) == 10  # logged even if it is not answered
    assert (record["error"] is None) == (not rejected)
    if rejected:
        assert "screening" in record["error"]["message"]


def test_several_items_some_rejected_are_200_with_the_rows_marked(
    make_bench: MakeBench, images: Images
) -> None:
    bench = make_bench(screening=ScreeningConfig(policy=Policy.REJECT, disclose=Disclose.FULL))
    batch = bench.model.screen(images)
    bench.model.threshold = float(np.sort(batch.score)[1:3].mean())
    response = bench.send(images.tobytes(), RAW)
    assert response.http_status == 200
    found = [item["status"] == "rejected" for item in read(response)["predictions"]]
    assert found == (batch.score > bench.model.threshold).tolist()
    assert 0 < sum(found) < 4


def test_a_model_that_computes_no_number_answers_none(
    make_bench: MakeBench, images: Images
) -> None:
    for policy in Policy:
        bench = make_bench(screening=ScreeningConfig(policy=policy))
        blind_classifier(bench)
        response = bench.send(png(images[0]))
        (item,) = read(response)["predictions"]
        assert (response.http_status, item["status"]) == (500, "error")
        assert "label" not in item
        (record,) = bench.records()
        assert record["screening"]["verdict"] == "failed"
        assert record["prediction"] == record["probability"] == []


def test_scores_are_logged_whatever_is_told(make_bench: MakeBench, images: Images) -> None:
    bench = make_bench(screening=ScreeningConfig(disclose=Disclose.NONE))
    bench.ask(images.tobytes(), RAW)
    batch = bench.model.screen(images)
    for place, record in enumerate(bench.records()):
        screening: dict[str, Any] = record["screening"]
        assert screening["score"] == pytest.approx(float(batch.score[place]), rel=1e-5)
        assert screening["p_value"] == pytest.approx(float(batch.p_value[place]), rel=1e-5)
        assert screening["threshold"] == bench.model.threshold
        assert screening["calibration_id"] == bench.model.calibration_id
        assert list(screening["heads"]) == list(bench.model.head_names)


@pytest.mark.parametrize(
    "values",
    [{"max_items": 0}, {"max_bytes": -1}, {"max_forward_batch": 0}, {"max_bytes": 2**31}],
)
def test_limits_that_make_no_sense_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=next(iter(values))):
        LimitsConfig(**values)
