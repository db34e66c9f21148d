"""Processes by their identity: a number is used again, a number with a start time is not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from release.run_folder import RunFolder

WORKER_SCRIPT = "model_service_worker.py"

_KILLING_S = 10.0
_SAME_START_S = 2.0
"""Start times are computed from the clock, which may be set a little in between."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process that runs or once ran; `started` in seconds since 1970."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the identity of a process that runs now."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """Return the process, or None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _SAME_START_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def alive(self) -> bool:
        """Return whether it still runs."""
        return self.process() is not None

    def terminate(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        process = self.process()
        with suppress(psutil.NoSuchProcess):
            if process is not None:
                process.send_signal(number)

    def wait_end(self, seconds: float) -> bool:
        """Wait until it has ended; return whether it has."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def running(identity: ProcessId | None) -> psutil.Process | None:
    """Return the process if there is one and it still runs."""
    return None if identity is None else identity.process()


def workers_of(frontend: psutil.Process | None) -> list[psutil.Process]:
    """Return the worker processes of TorchServe's frontend, as far as it lives."""
    try:
        children = [] if frontend is None else frontend.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if any(WORKER_SCRIPT in part for part in _cmdline(child))]


def memory_bytes(process: psutil.Process | None) -> int:
    """Return the resident memory of a process; 0 if it has ended."""
    try:
        return 0 if process is None else int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def torchserve_processes(run: RunFolder) -> list[psutil.Process]:
    """Return every TorchServe process, frontend or worker, whose temporary files are in the folder.

    They are known by what they run and where, so that they are found whoever started them and
    whatever became of that process.
    """
    return [process for process in psutil.process_iter() if _is_torchserve(process, run.scratch)]


def server_processes(run: RunFolder) -> list[psutil.Process]:
    """Return those of TorchServe and, known likewise, the gateway in front of it."""
    command = gateway_arguments(run)
    return torchserve_processes(run) + [
        process for process in psutil.process_iter() if _runs(process, command)
    ]


def gateway_arguments(run: RunFolder) -> list[str]:
    """Return the arguments by which the gateway of a run folder is known."""
    return ["-m", "gateway", str(run.upstream)]


def kill_torchserve(run: RunFolder) -> None:
    """Kill what `torchserve_processes` finds until nothing is left, within reason."""
    _kill(lambda: torchserve_processes(run))


def kill_all(run: RunFolder) -> None:
    """Kill what `server_processes` finds until nothing is left, within reason."""
    _kill(lambda: server_processes(run))


def _kill(find: Callable[[], list[psutil.Process]]) -> None:
    deadline = time.monotonic() + _KILLING_S
    while (found := find()) and time.monotonic() < deadline:
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.02)  # one that has ended is not found again, though its parent may be slow


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline()) if process.uids().real == os.getuid() else []
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def _is_torchserve(process: psutil.Process, scratch: Path) -> bool:
    arguments = _cmdline(process)
    if any(WORKER_SCRIPT in part for part in arguments):
        try:
            return Path(process.cwd()).is_relative_to(scratch.resolve())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
    return f"-Djava.io.tmpdir={scratch}" in arguments


def _runs(process: psutil.Process, part: list[str]) -> bool:
    """Return whether the arguments of a process hold `part`, in one piece."""
    arguments = _cmdline(process)
    return any(arguments[at : at + len(part)] == part for at in range(len(arguments)))
