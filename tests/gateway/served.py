"""A digits model served for real: TorchServe, its worker, and the gateway before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from gateway.identity.local_key import local_key
from release.package import package
from release.ports import GATEWAY_PORTS
from release.server import start, status, stop
from release.server_config import PORTS
from release.status import ServerStatus
from robustness.screened_model import load_screened_model
from tests.release.serving import assert_nothing_left, until
from torchkeep.artifact import ModelArtifact
from torchkeep.paths import Home
from torchkeep.settings import Settings

Images = NDArray[np.uint8]  # N C H W


@dataclass(frozen=True, slots=True)
class Served:
    """A running server, the key that it takes, and the model that it serves."""

    home: Home
    artifact: ModelArtifact
    running: ServerStatus
    key: str

    @property
    def now(self) -> ServerStatus:
        return status(self.home)

    @property
    def log(self) -> Path:
        return Path(self.running.request_log)

    @property
    def rest_port(self) -> int:
        return int(self.running.rest.rpartition(":")[2])

    @property
    def grpc_port(self) -> int:
        return int(self.running.grpc.rpartition(":")[2])

    @property
    def grpc_target(self) -> str:
        return self.running.grpc.removeprefix("grpc://")

    def gateway(self) -> psutil.Process:
        return psutil.Process(self.now.pids.gateway)

    def until_healthy(self, seconds: float = 60) -> None:
        assert until(lambda: self.now.healthy, seconds), self.now.reason


@contextmanager
def serving(
    artifact: ModelArtifact, folder: Path, variables: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """Serve an artifact on free ports; afterwards nothing may be left of it.

    `variables` are settings as the environment names them, for every process of the server.
    """
    home = Home(folder / "home")
    tables = {"server": dict.fromkeys(PORTS, 0), "gateway": dict.fromkeys(GATEWAY_PORTS, 0)}
    settings = Settings(tables, dict(variables or {}), "no file")
    try:
        running = start(home, package(artifact, folder / "store"), settings=settings)
        yield Served(home, artifact, running, local_key(home))
        running = status(home)
    finally:
        stop(home)
    assert_nothing_left(home, running)


def forward(artifact: ModelArtifact, images: Images) -> NDArray[np.float32]:
    """Return the probabilities, N K, that the artifact's own model gives without any server."""
    return load_screened_model(artifact, "cpu").screen(images).probabilities
