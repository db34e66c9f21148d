"""A service with a real small model, and what it wrote to its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from handlers.config import LimitsConfig, ScreeningConfig, ServingConfig
from handlers.pixels import Expected
from handlers.request import Request, Response
from handlers.served_model import ServedModel
from handlers.service import Service
from monitoring.record_check import check_record
from monitoring.request_log import RequestLog, RequestLogConfig
from robustness.screened_model import ScreenedModel, load_screened_model
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits

KEY = bytes(range(32))


class CountingLog(RequestLog):
    """A real log that counts the calls of `write`."""

    writes = 0

    def write(self, records: Any) -> None:
        self.writes += 1
        super().write(records)


@dataclass
class Bench:
    """A service under test."""

    service: Service
    model: ScreenedModel
    log: CountingLog
    artifact: ModelArtifact

    def send(self, body: Any, content_type: str = "", **fields: Any) -> Response:
        request = Request(body=body, content_type=content_type, **{"protocol": "rest", **fields})
        return self.service.answer([request])[0]

    def ask(self, body: Any, content_type: str = "", **fields: Any) -> dict[str, Any]:
        return read(self.send(body, content_type, **fields))

    def records(self) -> list[dict[str, Any]]:
        """Return all that is in the log, having held it against the schema."""
        lines = [
            line
            for segment in sorted(self.log.directory.iterdir())
            for line in segment.read_bytes().splitlines()
        ]
        records = [orjson.loads(line) for line in lines]
        assert [fault for record in records[:50] for fault in check_record(record)] == []
        return records


def read(response: Response) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(response.body)
    return answer


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(digits_artifact: ModelArtifact, tmp_path: Path) -> Iterator[MakeBench]:
    logs: list[RequestLog] = []

    def make(
        *,
        limits: LimitsConfig | None = None,
        screening: ScreeningConfig | None = None,
        log: RequestLogConfig | None = None,
        threshold: float | None = None,
        serving: ServingConfig | None = None,
    ) -> Bench:
        config = log or RequestLogConfig()
        model = load_screened_model(digits_artifact, "cpu")
        if threshold is not None:
            model.threshold = threshold
        counting = CountingLog(config, directory=tmp_path / f"log-{len(logs)}")
        logs.append(counting)
        service = Service(
            model,
            ServedModel.of(digits_artifact, model, "0.1.0"),
            counting,
            limits=limits or LimitsConfig(),
            screening=screening or ScreeningConfig(),
            log_config=config,
            serving=serving or ServingConfig(),
            envelope_key=KEY,
        )
        return Bench(service, model, counting, digits_artifact)

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench()


@pytest.fixture
def images(digits: Splits) -> NDArray[np.uint8]:
    """Four test digits, 4 × 1 × 8 × 8."""
    return digits.test.images[:4]


@pytest.fixture
def expected() -> Expected:
    """What a model of grey 8 × 8 images expects."""
    return Expected((1, 8, 8), LimitsConfig(max_items=10_000))
