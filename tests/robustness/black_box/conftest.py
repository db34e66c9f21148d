"""A real server of the digits network, over REST and gRPC, that can be made to misbehave."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustness.screened_model import load_classifier
from tests.client.protocol_servers import TOKEN, Asked, Model, serve_grpc, serve_rest
from torchkeep.artifact import ModelArtifact
from torchkeep.client import Client
from torchkeep.schema import HTTP_STATUS, SCHEMA_VERSION, ItemStatus


@dataclass
class Digits(Model):
    """Answers with the network's probabilities; counts the images that it answered."""

    network: nn.Module = field(default_factory=nn.Identity)
    answered: int = 0
    throttle_every: int = 0
    dies_after: int | None = None
    hides: bool = False
    rejects: bool = False
    calls: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        self.calls += 1
        if self.throttle_every and self.calls % self.throttle_every == 0:
            body = {"code": 429, "type": "TooMany", "message": "slow down"}
            return 429, json.dumps(body).encode()
        images = np.lib.format.read_array(io.BytesIO(asked.data), allow_pickle=False)
        if self.dies_after is not None and self.answered + len(images) > self.dies_after:
            raise ConnectionAbortedError
        pixels = torch.from_numpy(images.astype(np.float32))
        if images.dtype == np.uint8:
            pixels = pixels / 255
        with self.lock, torch.no_grad():
            rows = self.network(pixels).softmax(1).numpy()
        self.answered += len(images)
        told = [self._row(at, row) for at, row in enumerate(rows)]
        answer = {
            "schema": SCHEMA_VERSION,
            "request_id": asked.tags["request_id"],
            "model": asked.model,
            "model_version": "1.0",
            "predictions": told,
        }
        status = HTTP_STATUS[ItemStatus(told[0]["status"])] if len(told) == 1 else 200
        return status, json.dumps(answer).encode()

    def _row(self, at: int, row: Any) -> dict[str, Any]:
        best = int(row.argmax())
        if self.rejects:
            screening = {"verdict": "suspicious"}
            return {"item": at, "status": "rejected", "screening": screening, "error": "no"}
        told = {
            "item": at,
            "status": "ok",
            "label": str(best),
            "class_index": best,
            "probability": float(row[best]),
            "screening": {"verdict": "clean"},
        }
        return told if self.hides else told | {"probabilities": row.tolist()}


@pytest.fixture
def server(digits_artifact: ModelArtifact) -> Digits:
    return Digits(network=load_classifier(digits_artifact).eval())


@pytest.fixture
def client(server: Digits) -> Iterator[Client]:
    with (
        serve_rest(server) as port,
        Client(f"http://127.0.0.1:{port}", token=TOKEN, timeout=10) as client,
    ):
        yield client


@pytest.fixture
def grpc_client(server: Digits) -> Iterator[Client]:
    with (
        serve_grpc(server) as port,
        Client(f"grpc://127.0.0.1:{port}", token=TOKEN, timeout=10) as client,
    ):
        yield client
