"""What runs in a run folder: written by the supervisor, read by everyone else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

import orjson

from release.ports import Ports
from release.process import ProcessId
from release.run_folder import RunFolder
from torchkeep.atomic_file import write_atomic


class Phase(StrEnum):
    """How far the server has come."""

    STARTING = "starting"
    SERVING = "serving"
    FAILED = "failed"  # it never served
    DIED = "died"  # it served, then TorchServe ended by itself


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """The state of one server."""

    launch: Launch
    phase: Phase = Phase.STARTING
    reason: str = ""
    supervisor: ProcessId | None = None
    frontend: ProcessId | None = None
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
                supervisor=_process(raw["supervisor"]),
                frontend=_process(raw["frontend"]),
                started=raw["started"],
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def _launch(raw: Mapping[str, Any]) -> Launch:
    values = {**raw, "ports": Ports(**raw["ports"]), "command": tuple(raw["command"])}
    return Launch(**values)


def _process(raw: Mapping[str, Any] | None) -> ProcessId | None:
    return None if raw is None else ProcessId(**raw)
