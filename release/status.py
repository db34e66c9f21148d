"""What runs in a home, seen from outside."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from release.ports import LOOPBACK
from release.process import memory_bytes, running, workers_of
from release.run_folder import RunFolder
from release.state import Phase, ServerState
from torchkeep.paths import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Pids:
    """Process ids; None and () where there is no process."""

    supervisor: int | None = None
    frontend: int | None = None
    workers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBytes:
    """Resident memory, in bytes."""

    frontend: int = 0
    workers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """A server that runs, or the reason why there is none.

    `running`: TorchServe lives and has served. `supervised`: so does its supervisor; without one,
    tokens expire and a death goes unnoticed. Texts are empty if nothing was ever started.
    """

    running: bool = False
    supervised: bool = False
    phase: Phase | None = None
    reason: str = ""
    rest: str = ""
    grpc: str = ""
    management: str = ""
    metrics: str = ""
    model: str = ""
    version: str = ""
    artifact_digest: str = ""
    fingerprint: str = ""
    request_log: str = ""
    log: str = ""
    started: str = ""
    pids: Pids = Pids()
    memory_bytes: MemoryBytes = MemoryBytes()

    @property
    def healthy(self) -> bool:
        """Whether all that belongs to a server lives; a worker that died is soon replaced."""
        return self.running and self.supervised and bool(self.pids.workers)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def status(home: Home) -> ServerStatus:
    """Return what runs in `home` now."""
    run = RunFolder(home.run)
    state = ServerState.read(run)
    if state is None:
        return ServerStatus(reason="no server is running here")
    supervisor, frontend = running(state.supervisor), running(state.frontend)
    workers = workers_of(frontend)
    launch, ports = state.launch, state.launch.ports
    return ServerStatus(
        running=frontend is not None and state.phase is Phase.SERVING,
        supervised=supervisor is not None,
        phase=state.phase,
        reason=_reason(state, supervisor is not None, frontend is not None, bool(workers)),
        rest=f"http://{LOOPBACK}:{ports.rest_port}",
        grpc=f"grpc://{LOOPBACK}:{ports.grpc_port}",
        management=f"http://{LOOPBACK}:{ports.management_port}",
        metrics=f"http://{LOOPBACK}:{ports.metrics_port}/metrics",
        model=launch.model,
        version=launch.version,
        artifact_digest=launch.artifact_digest,
        fingerprint=launch.fingerprint,
        request_log=launch.request_log,
        log=str(run.log),
        started=datetime.fromtimestamp(state.started, UTC).isoformat(timespec="seconds"),
        pids=Pids(
            supervisor=None if supervisor is None else supervisor.pid,
            frontend=None if frontend is None else frontend.pid,
            workers=tuple(worker.pid for worker in workers),
        ),
        memory_bytes=MemoryBytes(
            frontend=memory_bytes(frontend),
            workers=tuple(memory_bytes(worker) for worker in workers),
        ),
    )


def _reason(state: ServerState, supervised: bool, frontend_lives: bool, workers: bool) -> str:
    if state.reason:
        return state.reason
    if not frontend_lives:
        return "TorchServe has just died" if supervised else "TorchServe and its supervisor died"
    if not supervised:
        return "its supervisor has died: tokens will expire; run `torchkeep up` again"
    if state.phase is Phase.STARTING:
        return "it is starting"
    return "" if workers else "no worker runs at this moment"
