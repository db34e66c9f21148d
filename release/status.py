"""What runs in a home, seen from outside."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from release.ports import LOOPBACK, reachable
from release.process import memory_bytes, running, workers_of
from release.run_folder import RunFolder
from release.state import Launch, Phase, Restarts, ServerState
from torchkeep.paths import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Pids:
    """Process ids; None and () where there is no process."""

    supervisor: int | None = None
    gateway: int | None = None
    frontend: int | None = None
    workers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBytes:
    """Resident memory, in bytes."""

    gateway: int = 0
    frontend: int = 0
    workers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """A server that runs, or the reason why there is none.

    `running`: it has served, and both TorchServe and the gateway live. `supervised`: so does their
    supervisor; without one, tokens expire and what dies stays dead. `rest` and `grpc` are the
    gateway's addresses; `torchserve_rest` and `torchserve_grpc` those behind it, on loopback.
    Texts are empty if nothing was ever started.
    """

    running: bool = False
    supervised: bool = False
    phase: Phase | None = None
    reason: str = ""
    restarts: Restarts = field(default_factory=Restarts)
    rest: str = ""
    grpc: str = ""
    observe: str = ""
    torchserve_rest: str = ""
    torchserve_grpc: str = ""
    management: str = ""
    metrics: str = ""
    model: str = ""
    version: str = ""
    artifact_digest: str = ""
    fingerprint: str = ""
    request_log: str = ""
    log: str = ""
    gateway_log: str = ""
    started: str = ""
    pids: Pids = Pids()
    memory_bytes: MemoryBytes = MemoryBytes()

    @property
    def healthy(self) -> bool:
        """Whether all that belongs to a server lives; a worker that died is soon replaced."""
        return self.running and self.supervised and bool(self.pids.workers)

    @property
    def over(self) -> bool:
        """Whether nothing is served here, nor will be without a new start."""
        return not (self.running or self.supervised)

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
    gateway, workers = running(state.gateway), workers_of(frontend)
    launch = state.launch
    pids = Pids(
        supervisor=None if supervisor is None else supervisor.pid,
        gateway=None if gateway is None else gateway.pid,
        frontend=None if frontend is None else frontend.pid,
        workers=tuple(worker.pid for worker in workers),
    )
    both = frontend is not None and gateway is not None
    return ServerStatus(
        running=both and state.phase is Phase.SERVING,
        supervised=supervisor is not None,
        phase=state.phase,
        reason=_reason(state, pids),
        restarts=state.restarts,
        **_addresses(launch),
        model=launch.model,
        version=launch.version,
        artifact_digest=launch.artifact_digest,
        fingerprint=launch.fingerprint,
        request_log=launch.request_log,
        log=str(run.log),
        gateway_log=str(run.gateway_log),
        started=datetime.fromtimestamp(state.started, UTC).isoformat(timespec="seconds"),
        pids=pids,
        memory_bytes=MemoryBytes(
            gateway=memory_bytes(gateway),
            frontend=memory_bytes(frontend),
            workers=tuple(memory_bytes(worker) for worker in workers),
        ),
    )


def _addresses(launch: Launch) -> dict[str, str]:
    ports, front = launch.ports, launch.gateway
    host, secure = reachable(front.host), "s" if front.tls else ""
    return {
        "rest": f"http{secure}://{host}:{ports.gateway.http_port}",
        "grpc": f"grpc{secure}://{host}:{ports.gateway.grpc_port}",
        "observe": f"http://{reachable(front.observe_host)}:{ports.gateway.observe_port}",
        "torchserve_rest": f"http://{LOOPBACK}:{ports.rest_port}",
        "torchserve_grpc": f"grpc://{LOOPBACK}:{ports.grpc_port}",
        "management": f"http://{LOOPBACK}:{ports.management_port}",
        "metrics": f"http://{LOOPBACK}:{ports.metrics_port}/metrics",
    }


def _reason(state: ServerState, pids: Pids) -> str:
    if state.phase is Phase.FAILED:
        return state.reason
    dead = {"TorchServe": pids.frontend is None, "the gateway": pids.gateway is None}
    if state.phase is Phase.STARTING:
        dead["the gateway"] = False  # it comes second
    names = " and ".join(name for name, is_dead in dead.items() if is_dead)
    if pids.supervisor is None:
        if names:
            return f"{names} and the supervisor died; run `torchkeep up` again"
        return "its supervisor has died: tokens will expire; run `torchkeep up` again"
    if state.reason:
        return state.reason
    if names:
        return f"{names} has just died"
    if state.phase is Phase.STARTING:
        return "it is starting"
    return "" if pids.workers else "no worker runs at this moment"
