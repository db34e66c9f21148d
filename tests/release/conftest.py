"""A small archive around any entry module, and settings that use free ports."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from release.ports import GATEWAY_PORTS, GatewayPorts, Ports
from release.server_config import PORTS
from release.state import GatewayLaunch, Launch
from torchkeep.artifact import MODEL, Manifest, ModelArtifact
from torchkeep.image_shape import ImageShape
from torchkeep.settings import Settings

ECHO = """\
import json

import numpy as np

from torchkeep import envelope
from torchkeep.keys import envelope_key_file, read_key
from torchkeep.paths import Home
from torchkeep.schema import Disclose, ItemStatus

KEY = read_key(envelope_key_file(Home.default()))


def handle(data, context):
    if data is None:
        return None
    body = bytes(data[0].get("body") or data[0].get("data") or b"")
    if body.startswith(envelope.MAGIC):
        return [answer(envelope.decode_request(body, KEY, max_items=10_000))]
    context.set_response_content_type(0, "application/json")
    return [json.dumps({"predictions": [{"item": 0, "status": "ok", "bytes": len(body)}]}).encode()]


def answer(request):
    count = len(request.item_index)
    told = envelope.ResponseEnvelope(
        model="toy",
        model_version="1.0",
        disclose=Disclose.NONE,
        threshold=0.0,
        statuses=[ItemStatus.OK] * count,
        verdicts=[None] * count,
        class_index=np.ones(count, np.int32),
        probability=np.ones(count, np.float32),
        score=np.full(count, np.nan, np.float32),
        p_value=np.full(count, np.nan, np.float32),
        probabilities=np.tile(np.array([0, 1], np.float32), (count, 1)),
        labels={1: "yes"},
    )
    return envelope.encode_response(told, KEY)
"""
"""An entry module that tells TorchServe's callers the size of their body, and the gateway "yes"."""


def settings(gateway: Mapping[str, object] | None = None, **server: object) -> Settings:
    """Return settings that are all default but some of two sections; each port is a free one."""
    tables = {
        "server": dict.fromkeys(PORTS, 0) | server,
        "gateway": dict.fromkeys(GATEWAY_PORTS, 0) | dict(gateway or {}),
    }
    return Settings(tables, {}, "no file")


@pytest.fixture(scope="session")
def toy_artifact(tmp_path_factory: pytest.TempPathFactory) -> ModelArtifact:
    """An artifact that no architecture fits: 8 × 8 grey images, two classes."""
    import torch

    manifest = Manifest(
        name="toy",
        version="1.0",
        architecture="none",
        options={},
        input=ImageShape(channels=1, height=8, width=8),
        classes=("no", "yes"),
        threat_model=None,
        train_record={},
        metrics={},
        screening=None,
    )
    path = tmp_path_factory.mktemp("artifacts") / "toy"
    return ModelArtifact.write(path, manifest, {MODEL: {"weight": torch.arange(1000.0)}})


@pytest.fixture
def with_entry(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have archives packed and vetted with another entry module than ours."""

    def replace_entry(source: str) -> None:
        for module in ("release.package", "release.vet"):
            monkeypatch.setattr(f"{module}.entry_source", source.encode)

    return replace_entry


@pytest.fixture(scope="session")
def packed_toy(toy_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from release.package import package

    return package(toy_artifact, tmp_path_factory.mktemp("store"))


@pytest.fixture
def toy_archive(packed_toy: Path, tmp_path: Path) -> Path:
    """The toy artifact packed with our own entry module; each test gets a copy."""
    (tmp_path / "store").mkdir()
    return shutil.copyfile(packed_toy, tmp_path / "store" / "toy.mar")


@pytest.fixture
def launch() -> Launch:
    ports = Ports(
        rest_port=1,
        grpc_port=2,
        management_port=3,
        metrics_port=4,
        grpc_management_port=5,
        gateway=GatewayPorts(http_port=6, grpc_port=7, observe_port=8),
    )
    return Launch(
        model="toy",
        version="1.0",
        artifact_digest="",
        fingerprint="",
        input_bytes=64,
        ports=ports,
        workers=1,
        startup_timeout_s=60,
        token_minutes=60.0,
        request_log="",
        command=("java", "-version"),
        gateway=GatewayLaunch(
            host="127.0.0.1",
            observe_host="127.0.0.1",
            tls=False,
            drain_s=1.0,
            command=("python", "--version"),
        ),
    )
