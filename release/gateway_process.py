"""The gateway as a child of the supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from gateway.config import GatewayConfig
from release.child import end_gently, how_it_ended
from release.loopback import Reply, request
from release.ports import GatewayPorts, reachable
from release.process import ProcessId, gateway_arguments
from release.pulse import Pulse
from release.run_folder import RunFolder
from release.state import GatewayLaunch, Launch
from release.ts_log import last_line, size_of
from torchkeep.errors import ServerError
from torchkeep.settings import Settings

READY_LINE = b"ready "
"""How the line begins that the gateway prints once it listens: ready HTTP GRPC OBSERVE."""
GRACE_S = 5.0
"""How long the gateway may take to end, beyond the draining."""
ASK_S = 2.0


def gateway_launch(run: RunFolder, config: GatewayConfig, ports: GatewayPorts) -> GatewayLaunch:
    """Return how the gateway is to be run."""
    options = {
        "--http-port": ports.http_port,
        "--grpc-port": ports.grpc_port,
        "--observe-port": ports.observe_port,
    }
    arguments = [text for name, port in options.items() for text in (name, str(port))]
    return GatewayLaunch(
        host=config.host,
        observe_host=config.observe_host,
        tls=config.tls_certificate is not None,
        drain_s=config.drain_s,
        command=(sys.executable, "-P", *gateway_arguments(run), *arguments),
    )


def tls_files(config: GatewayConfig) -> dict[str, Path]:
    """Return the files that TLS needs, by setting; absolute, for the gateway runs elsewhere."""
    files = {
        "tls_certificate": config.tls_certificate,
        "tls_key": config.tls_key,
        "tls_client_ca": config.tls_client_ca,
    }
    return {name: file.absolute() for name, file in files.items() if file is not None}


def gateway_variables(settings: Settings) -> dict[str, str]:
    """Return the variables that the gateway needs beside the caller's."""
    config = settings.section("gateway", GatewayConfig)
    return {
        f"TORCHKEEP_GATEWAY_{name.upper()}": str(file) for name, file in tls_files(config).items()
    }


class Gateway:
    """The gateway in front of one TorchServe, as a `Launch` says."""

    def __init__(self, run: RunFolder, launch: Launch) -> None:
        self.identity: ProcessId | None = None
        self._run = run
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._listens = False
        self._listens_by = 0.0
        self._pulse = self._new_pulse()
        self._log_began = 0

    def start(self) -> None:
        """Run it. Raises `OSError`."""
        self._said, self._listens = b"", False
        self._pulse = self._new_pulse()
        self._listens_by = time.monotonic() + self._launch.startup_timeout_s
        self._log_began = size_of(self._run.gateway_log)
        with self._run.gateway_log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                self._launch.gateway.command,
                cwd=self._run.path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.identity = ProcessId.of(self._process.pid)
        os.set_blocking(_stdout(self._process), False)

    def look(self) -> bool:
        """Return whether it listens. Raises `ServerError` once it never will."""
        if self._process is None:
            return False
        self._read(self._process)
        code = self._process.poll()
        if code is not None:
            raise ServerError(f"the gateway {how_it_ended(code)}{self._last_words()}")
        if not self._listens and time.monotonic() > self._listens_by:
            limit = self._launch.startup_timeout_s
            raise ServerError(f"the gateway did not listen within {limit} s{self._last_words()}")
        if self._listens:
            self._pulse.feel()
        return self._listens

    def _new_pulse(self) -> Pulse:
        host = reachable(self._launch.gateway.observe_host)
        port = self._launch.ports.gateway.observe_port
        return Pulse("the gateway", port, "/livez", host=host)

    def _ask(self, path: str) -> Reply:
        host = reachable(self._launch.gateway.observe_host)
        port = self._launch.ports.gateway.observe_port
        return request(port, path, host=host, timeout_s=ASK_S)

    def unready(self) -> str:
        """Return why it is not ready to have questions answered; '' if it is."""
        try:
            reply = self._ask("/readyz")
        except OSError as error:
            return f"it does not answer: {error}"
        if reply.status == 200:
            return ""
        return reply.body.decode(errors="replace").strip() or f"HTTP {reply.status}"

    def abandon(self) -> None:
        """Kill what may be left of it."""
        if self._process is not None:
            self._process.kill()
            self._close(self._process)

    def end(self) -> None:
        """Have it answer what is under way and end; wait until it has."""
        if self._process is not None:
            end_gently(self._process, self._launch.gateway.drain_s + GRACE_S)
            self._close(self._process)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Take what it prints, so that it never waits for us; only the first line counts."""
        with suppress(BlockingIOError):
            said = os.read(_stdout(process), 4096)
            if not self._listens:
                self._said += said
                self._listens = self._said.startswith(READY_LINE) and b"\n" in self._said

    def _last_words(self) -> str:
        line = last_line(self._run.gateway_log, self._log_began).removeprefix("error: ")
        return f": {line}" if line else ""

    @staticmethod
    def _close(process: subprocess.Popen[bytes]) -> None:
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _stdout(process: subprocess.Popen[bytes]) -> int:
    if process.stdout is None:
        raise ValueError("the gateway was started without a pipe")
    return process.stdout.fileno()
