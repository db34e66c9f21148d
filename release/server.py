"""One server on this machine, TorchServe and the gateway in front of it: start it, stop it.

All of it lives in the run folder of a `Home`. `start` returns once a real prediction was
answered and the gateway is ready; what it leaves running is a supervisor
(`release/supervisor.py`), the gateway, TorchServe's frontend and its workers.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

from gateway.config import GatewayConfig
from gateway.identity.local_key import ensure_local_key
from monitoring.request_log import RequestLogConfig
from release import java
from release.archive import MODEL_CONFIG, write_archive
from release.fingerprint import fingerprint
from release.gateway_process import gateway_launch, gateway_variables
from release.model_config import Device
from release.ports import Ports
from release.process import kill_all, server_processes
from release.run_folder import RunFolder
from release.server_config import ServerConfig
from release.state import Launch, Phase, ServerState
from release.status import ServerStatus, status
from release.ts_config import LOG4J2, render_properties
from release.upstream import upstream
from release.vet import VettedArchive, opened
from torchkeep.errors import ServerError
from torchkeep.keys import envelope_key_file, renew_key
from torchkeep.paths import Home
from torchkeep.settings import Settings

STOP_TIMEOUT_S = 40.0
"""More than the supervisor grants TorchServe, and the gateway beyond its draining."""
LOCK_TIMEOUT_S = 10.0

Progress = Callable[[str], None]


def start(
    home: Home,
    archive: Path,
    *,
    settings: Settings | None = None,
    progress: Progress = lambda _: None,
) -> ServerStatus:
    """Serve `archive`, and return once it has answered a prediction.

    A server that already serves this archive with these settings is left as it is; any other one
    of this home is stopped first. Raises `ArtifactError` if the archive may not be served and
    `ServerError`, with the reason in one line, if it could not be; then nothing runs.
    """
    settings = settings or Settings.load()
    run = RunFolder(home.run)
    run.create()
    with run.locked(), opened(archive, scratch=run.path) as vetted:
        plan = _plan(run, home, vetted, settings)
        before = status(home)
        if before.healthy and before.fingerprint == plan.fingerprint:
            progress(f"{before.model} {before.version} is being served already")
            return before
        if before.running:
            progress(f"stopping the server of {before.model} {before.version} first")
        _end(run)
        renew_key(envelope_key_file(home))
        ensure_local_key(home)
        _lay_out(run, home, plan, vetted, settings)
        progress(f"starting TorchServe with {plan.model} {plan.version}, then the gateway")
        _launch(run, plan, java.environment(run, home, settings) | gateway_variables(settings))
    return status(home)


def stop(home: Home) -> bool:
    """Stop the server of this home, and return whether one was running.

    Works after the death of its supervisor, too. Raises `ServerError` if something still runs.
    """
    run = RunFolder(home.run)
    if not run.path.is_dir():
        return False
    ran = _end_supervisor(run)
    with run.locked(wait_s=LOCK_TIMEOUT_S):
        return _end(run) or ran


def _end(run: RunFolder) -> bool:
    """End whatever runs here and remove what it left; return whether something ran."""
    ran = _end_supervisor(run) or bool(server_processes(run))
    kill_all(run)
    if left := server_processes(run):
        raise ServerError(f"process {left[0].pid} does not end", remedy="End it by hand.")
    run.clear()
    run.state.unlink(missing_ok=True)
    return ran


def _end_supervisor(run: RunFolder) -> bool:
    """Have the supervisor, if there is one, end gateway, TorchServe and itself."""
    state = ServerState.read(run)
    if state is None or state.supervisor is None or not state.supervisor.alive():
        return False
    state.supervisor.terminate()
    if not state.supervisor.wait_end(STOP_TIMEOUT_S + state.launch.gateway.drain_s):
        state.supervisor.kill()
    return True


def _plan(run: RunFolder, home: Home, vetted: VettedArchive, settings: Settings) -> Launch:
    """Return what is to be started, having changed nothing; all that can be refused is, here."""
    config = settings.section("server", ServerConfig)
    front = settings.section("gateway", GatewayConfig)
    request_log = settings.section("request_log", RequestLogConfig)
    now = ServerState.read(run)
    ours = now.launch.ports.numbers() if now and server_processes(run) else ()
    ports = Ports.reserve(config, front, ours=ours)
    return Launch(
        model=vetted.manifest.name,
        version=vetted.manifest.version,
        artifact_digest=vetted.artifact_digest,
        fingerprint=fingerprint(vetted, settings),
        input_bytes=prod(vetted.manifest.input.chw),
        ports=ports,
        workers=config.workers,
        startup_timeout_s=config.startup_timeout_s,
        token_minutes=config.token_minutes,
        request_log=str(request_log.location(home)),
        command=java.command(run, config),
        gateway=gateway_launch(run, front, ports.gateway),
    )


def _lay_out(
    run: RunFolder, home: Home, plan: Launch, vetted: VettedArchive, settings: Settings
) -> None:
    """Write what TorchServe and the gateway read: configuration, and the archive to be served."""
    config = settings.section("server", ServerConfig)
    served, model_config = f"{plan.model}.mar", run.path / MODEL_CONFIG
    try:
        run.furnish()
        for log in (run.log, run.console, run.gateway_log):
            if log.exists():
                log.replace(log.with_suffix(".before.log"))
        model_config.write_bytes(config.model_config(Device.of(vetted.manifest)).to_yaml())
        write_archive(run.store / served, {**vetted.members, MODEL_CONFIG: model_config})
        properties = render_properties(config, plan.ports, run.store, served)
        run.properties.write_text(properties, encoding="ascii")
        run.log4j2.write_text(LOG4J2, encoding="ascii")
        upstream(run, home, plan, vetted, settings).write(run.upstream)
        ServerState(launch=plan).write(run)
    except OSError as error:
        run.clear()
        raise ServerError(f"{run.path} cannot be written: {error.strerror}") from error


def _launch(run: RunFolder, plan: Launch, environment: Mapping[str, str]) -> None:
    """Start the supervisor and wait until it says that the server serves.

    If this process ends before that, so does the server. Raises `ServerError`.
    """
    ours, theirs = socket.socketpair()
    with ours, run.console.open("ab") as console:
        with theirs:
            subprocess.run(  # noqa: S603
                [sys.executable, "-P", "-m", "release.supervisor", str(run.path)],
                cwd=run.path,
                env=dict(environment),
                stdin=theirs.fileno(),
                stdout=console,
                stderr=console,
                check=False,
            )
        if _heard(ours, STOP_TIMEOUT_S + plan.gateway.drain_s) != Phase.SERVING:
            kill_all(run)
            run.clear()
            raise _failure(run)


def _heard(supervisor: socket.socket, patience_s: float) -> str:
    """Return what the supervisor says: that the server serves or, by ending, nothing."""
    try:
        return supervisor.recv(64).decode()
    except BaseException:
        supervisor.shutdown(socket.SHUT_WR)
        supervisor.settimeout(patience_s)
        supervisor.recv(64)
        raise


def _failure(run: RunFolder) -> ServerError:
    """Return why the supervisor ended before the server served."""
    state = ServerState.read(run)
    if state is None:
        return ServerError("the server was stopped while it was starting")
    reason = state.reason or f"its supervisor ended ({_last_line(run.console)})"
    logs = [log for log in (run.log, run.gateway_log) if log.exists()] or [run.console]
    where = " and ".join(str(log) for log in logs)
    return ServerError(f"the server did not start: {reason}", remedy=f"What it says is in {where}.")


def _last_line(console: Path) -> str:
    lines = console.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "without a word"
