"""The data plane before the real handler: answers, joined calls, what is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from gateway.refusal import Code, Refusal
from handlers.config import ScreeningConfig
from tests.gateway.plane.house import house, run
from tests.gateway.plane.questions import DIGITS, question
from tests.handlers.conftest import Bench, MakeBench
from tests.handlers.samples import png
from torchkeep.envelope import BodyPayload
from torchkeep.schema import Disclose, ItemStatus, Operation, Policy

Images = NDArray[np.uint8]


def test_answers_equal_the_handlers_own(bench: Bench, images: Images, tmp_path: Path) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            outcome = await it.plane.infer(question(payload=images))
            plain = bench.ask(images.tobytes(), "application/octet-stream")["predictions"]
            assert list(outcome.labels) == [item["label"] for item in plain]
            np.testing.assert_allclose(
                outcome.probabilities, [item["probabilities"] for item in plain], rtol=1e-5
            )
            assert [str(verdict) for verdict in outcome.verdicts] == [
                item["screening"]["verdict"] for item in plain
            ]
            (finished,) = it.told.requests
            assert (finished.code, finished.items_ok, finished.batch_size) == (Code.OK, 4, 4)
            assert 0 <= finished.queue_s <= finished.total_s
            assert 0 < finished.backend_s <= finished.total_s

    run(scene())


def test_what_waits_together_travels_together(bench: Bench, images: Images, tmp_path: Path) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path, calls_per_worker=1, max_batch=64) as it:
            it.server.gate.clear()
            first = asyncio.create_task(it.ask(question(payload=images[:1], request_id="first")))
            await it.until(lambda: it.server.calls == [1])
            rest = [
                asyncio.create_task(it.ask(question(payload=images[i % 4 : i % 4 + 1])))
                for i in range(100)
            ]
            await asyncio.sleep(0.05)
            assert it.server.calls == [1]
            it.server.gate.set()
            await asyncio.gather(first, *rest)
            assert it.server.calls == [1, 64, 36]
            alone = await it.plane.infer(question(payload=images[1:2]))
            assert all(
                one.result().labels == alone.labels
                for one in rest[1::4]  # type: ignore[union-attr]
            )
            assert len(it.told.requests) == 102

    run(scene())


def test_a_large_question_travels_in_parts_and_keeps_its_order(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path, max_batch=3) as it:
            blobs: list[bytes] = [png(images[i % 4]) for i in range(10)]
            blobs[7] = b"junk"
            outcome = await it.plane.infer(question(payload=blobs))
            assert it.server.calls == [3, 3, 3, 1]
            expected = (await it.plane.infer(question(payload=images))).labels
            wanted = [expected[i % 4] for i in range(10)]
            wanted[7] = ""
            assert list(outcome.labels) == wanted
            assert outcome.statuses[7] is ItemStatus.UNSUPPORTED
            assert list(outcome.messages) == [7]
            assert outcome.code is Code.OK
            assert np.isnan(outcome.probabilities[7]).all()
            assert np.isfinite(np.delete(outcome.probabilities, 7, axis=0)).all()

    run(scene())


def test_a_part_in_which_nothing_was_predicted_has_no_numbers(
    bench: Bench, images: Images, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path, max_batch=1) as it:
            outcome = await it.plane.infer(question(payload=[b"junk", png(images[0])]))
            assert outcome.probabilities.shape == (2, 10)
            assert np.isnan(outcome.probabilities[0]).all()
            assert np.isfinite(outcome.probabilities[1]).all()

    run(scene())


def test_a_body_is_opened_by_the_handler(bench: Bench, images: Images, tmp_path: Path) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            body = orjson.dumps({"instances": images.tolist(), "dtype": "uint8"})
            asked = question(payload=BodyPayload("application/json", body))
            outcome = await it.plane.infer(asked)
            plain = await it.plane.infer(question(payload=images))
            assert list(outcome.labels) == list(plain.labels)
            assert it.told.requests[0].arrival.items == 4
            none = await it.plane.infer(question(payload=BodyPayload("application/json", b"{")))
            assert none.code is Code.INVALID

    run(scene())


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"model": "mnist"}, Code.NOT_FOUND, "no model 'mnist' is served here; served: digits"),
        (
            {"version": "9"},
            Code.NOT_FOUND,
            "model 'digits' has no version '9'; served: 1.0",
        ),
        ({"payload": []}, Code.INVALID, "the request has no items"),
        (
            {"payload": np.zeros((17, 1, 8, 8), np.uint8), "operation": Operation.EXPLAIN},
            Code.TOO_LARGE,
            "the request has 17 items to explain; at most 16 are taken",
        ),
        (
            {"payload": np.zeros((10_001, 1, 8, 8), np.uint8)},
            Code.TOO_LARGE,
            "the request has 10001 items; at most 10000 are taken",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_and_recorded(
    bench: Bench, tmp_path: Path, changes: dict[str, Any], code: Code, message: str
) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            refused = await it.ask(question(**changes))
            assert isinstance(refused, Refusal)
            assert (refused.code, refused.message) == (code, message)
            assert it.answers() == [("r", code.name)]
            assert it.server.calls == []

    run(scene())


def test_verdicts_are_recorded_even_where_callers_are_told_nothing(
    make_bench: MakeBench, images: Images, tmp_path: Path
) -> None:
    bench = make_bench(
        screening=ScreeningConfig(policy=Policy.REJECT, disclose=Disclose.NONE), threshold=-1.0
    )

    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            outcome = await it.plane.infer(question(payload=images[:1]))
            assert outcome.code is Code.REJECTED
            assert list(outcome.verdicts) == [None]
            assert outcome.score is None
            assert outcome.messages == {0: "the item was not accepted"}
            (finished,) = it.told.requests
            assert (finished.code, finished.verdict) == (Code.REJECTED, "suspicious")

    run(scene())


def test_explanations_come_through(bench: Bench, images: Images, tmp_path: Path) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            outcome = await it.plane.infer(question(payload=images, operation=Operation.EXPLAIN))
            assert outcome.attribution_method == "integrated_gradients"
            assert {values.shape for values in outcome.attributions.values()} == {(1, 8, 8)}

    run(scene())


def test_another_version_is_not_served(bench: Bench, tmp_path: Path) -> None:
    async def scene() -> None:
        async with house(bench, tmp_path) as it:
            assert it.plane.find("digits") is it.plane.find("digits", "1.0")
            assert it.plane.versions("digits") == [DIGITS]
            with pytest.raises(Refusal):
                it.plane.find("digits", replace(DIGITS, version="2").version)

    run(scene())
