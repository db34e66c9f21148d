"""What runs in a run folder: written by the supervisor, read by everyone else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

import orjson

from release.ports import GatewayPorts, Ports
from release.process import ProcessId
from release.run_folder import RunFolder
from torchkeep.atomic_file import write_atomic


class Phase(StrEnum):
    """How far the server has come."""

    STARTING = "starting"
    SERVING = "serving"
    RESTARTING = "restarting"  # it has served; what ended of it is being started again
    FAILED = "failed"  # it never served


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLaunch:
    """How the gateway is run; `drain_s` is how long it may answer what is under way at its end."""

    host: str
    observe_host: str
    tls: bool
    drain_s: float
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What is to be served, and how; `fingerprint` is equal for equal archive and settings."""

    model: str
    version: str
    artifact_digest: str
    fingerprint: str
    input_bytes: int
    ports: Ports
    workers: int
    startup_timeout_s: int
    token_minutes: float
    request_log: str
    command: tuple[str, ...]
    gateway: GatewayLaunch


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """How often each part was started again since the server first served."""

    torchserve: int = 0
    gateway: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """The state of one server."""

    launch: Launch
    phase: Phase = Phase.STARTING
    reason: str = ""
    restarts: Restarts = Restarts()
    supervisor: ProcessId | None = None
    frontend: ProcessId | None = None
    gateway: ProcessId | None = None
    started: float = field(default_factory=time.time)

    def write(self, run: RunFolder) -> None:
        """Put the state into the run folder, whole. Raises `OSError`."""
        write_atomic(run.state, orjson.dumps(asdict(self)), mode=0o600)

    @classmethod
    def read(cls, run: RunFolder) -> Self | None:
        """Return the state in the run folder; None if there is none, or none we can read."""
        try:
            raw = orjson.loads(run.state.read_bytes())
            return cls(
                launch=_launch(raw["launch"]),
                phase=Phase(raw["phase"]),
                reason=raw["reason"],
                restarts=Restarts(**raw["restarts"]),
                supervisor=_process(raw["supervisor"]),
                frontend=_process(raw["frontend"]),
                gateway=_process(raw["gateway"]),
                started=raw["started"],
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def _launch(raw: Mapping[str, Any]) -> Launch:
    ports, gateway = raw["ports"], raw["gateway"]
    values = {
        "ports": Ports(**{**ports, "gateway": GatewayPorts(**ports["gateway"])}),
        "command": tuple(raw["command"]),
        "gateway": GatewayLaunch(**{**gateway, "command": tuple(gateway["command"])}),
    }
    return Launch(**{**raw, **values})


def _process(raw: Mapping[str, Any] | None) -> ProcessId | None:
    return None if raw is None else ProcessId(**raw)
