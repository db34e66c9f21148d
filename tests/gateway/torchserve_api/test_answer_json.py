"""The gateway's JSON is that of the handler: the same items, asked directly and by envelope."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from gateway.plane.answers import Columns
from gateway.torchserve_api.answer_json import answer_json
from handlers.config import ScreeningConfig
from tests.handlers.conftest import KEY, MakeBench, make_bench
from tests.handlers.samples import b64, instances, npy, png
from torchkeep.client.answer import parse_answer, parse_explanation
from torchkeep.envelope import (
    CONTENT_TYPE,
    Origin,
    RequestEnvelope,
    decode_response,
    encode_request,
)
from torchkeep.schema import Disclose, ItemStatus, Operation, Policy

__all__ = ["make_bench"]

Images = NDArray[np.uint8]

SETTINGS = [
    ScreeningConfig(),
    ScreeningConfig(disclose=Disclose.NONE),
    ScreeningConfig(disclose=Disclose.FULL),
    ScreeningConfig(policy=Policy.OBSERVE),
    ScreeningConfig(policy=Policy.REJECT, disclose=Disclose.NONE),
    ScreeningConfig(policy=Policy.REJECT, disclose=Disclose.FULL),
]


def by_envelope(bench: Any, blobs: list[bytes], operation: Operation) -> bytes:
    count = len(blobs)
    sent = RequestEnvelope(
        operation=operation,
        origins=[Origin(request_id="r1", items=count)],
        origin_index=np.zeros(count, dtype=np.uint32),
        item_index=np.arange(count, dtype=np.uint32),
        payload=blobs,
    )
    response = bench.send(encode_request(sent, KEY), CONTENT_TYPE, protocol="grpc")
    columns = Columns(decode_response(response.body, KEY))
    return answer_json(columns.cut(0, count, "r1"))


@pytest.mark.parametrize("screening", SETTINGS, ids=lambda s: f"{s.policy}-{s.disclose}")
@pytest.mark.parametrize("operation", list(Operation)[:2])
def test_it_equals_the_answer_to_a_direct_call(
    make_bench: MakeBench, digits: Any, screening: ScreeningConfig, operation: Operation
) -> None:
    images: Images = digits.test.images[:4]
    # half of the digits are above this threshold; single precision holds it exactly
    bench = make_bench(screening=screening, threshold=1.5)
    noise = npy(np.full((1, 8, 8), np.nan, dtype=np.float32))
    blobs = [*map(png, images), b"no image at all", noise]
    direct = bench.send(
        instances(*map(b64, blobs)), "application/json", operation=operation, request_id="r1"
    )
    answer = by_envelope(bench, blobs, operation)
    assert answer == direct.body
    statuses = [item["status"] for item in orjson.loads(answer)["predictions"]]
    assert statuses[4:] == ["unsupported_media_type", "bad_input"]
    parse = parse_answer if operation is Operation.PREDICT else parse_explanation
    assert parse(answer, items=6).items[4].status is ItemStatus.UNSUPPORTED
