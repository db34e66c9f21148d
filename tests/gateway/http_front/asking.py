"""One request to a fresh site, whose one record must say what was answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gateway.outcome import Outcome
from gateway.question import Question
from tests.gateway.http_front.serving import Plane, Reply, answer_to, run, site
from torchkeep.schema import ItemStatus

INFER = "/v2/models/digits/infer"
JSON_LENGTH = "inference-header-content-length"
PIXELS = np.arange(48, dtype=np.uint8).reshape(2, 2, 3, 4)


def asked(
    body: bytes,
    headers: dict[str, str] | None = None,
    path: str = INFER,
    plane: Plane | None = None,
) -> tuple[Reply, Plane]:
    async def test() -> tuple[Reply, Plane]:
        async with site(plane) as opened:
            return await opened.ask("POST", path, body, headers), opened.plane

    found: tuple[Reply, Plane] = run(test())
    assert len(found[1].records) == 1
    assert found[1].codes[0].http == found[0].status
    assert found[0].headers["x-request-id"] == found[1].records[0].arrival.request_id
    return found


def image_of(plane: Plane) -> Any:
    return plane.questions[0].payload


def failed(question: Question) -> Outcome:
    return replace(
        answer_to(question),
        statuses=[ItemStatus.REJECTED] * len(question),
        messages=dict.fromkeys(range(len(question)), "the item looks like an attack"),
    )
