"""Servers as processes: started, waited for, ended with all below them, and what they cost."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from torchkeep.errors import ServerError

GRACE_S = 10.0
LOOPBACK = "127.0.0.1"


@contextmanager
def child(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server below us while the block runs; at its end nothing of it is left.

    It has a session of its own, so that Ctrl-C reaches us alone and we end it in order.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and after a while kill it and whatever it started."""
    family = tree([process.pid])
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(family, timeout=1.0)
    for one in left:
        one.kill()
    psutil.wait_procs(left, timeout=GRACE_S)


def tree(roots: Collection[int]) -> list[psutil.Process]:
    """Return the processes of these numbers that live, and all below them, each once."""
    found: dict[int, psutil.Process] = {}
    for root in roots:
        try:
            process = psutil.Process(root)
            for one in (process, *process.children(recursive=True)):
                found[one.pid] = one
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def cpu_seconds(roots: Collection[int]) -> float:
    """Return the CPU time, user and system, that these process trees have used so far."""
    total = 0.0
    for process in tree(roots):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens; they are different ones."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_until(
    serves: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, *, seconds: float
) -> None:
    """Wait until a server answers. Raises `ServerError` once it has ended, or it took too long."""
    deadline = time.monotonic() + seconds
    while not serves():
        if process.poll() is not None:
            raise ServerError(f"it ended with exit code {process.returncode}: {last_line(log)}")
        if time.monotonic() > deadline:
            raise ServerError(f"it did not answer within {seconds:g} s: {last_line(log)}")
        time.sleep(0.2)


def last_line(log: Path) -> str:
    """Return the last line that a server printed, not too long."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "without a word"
