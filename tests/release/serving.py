"""What the tests of a running server share."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import httpx
import psutil
import pytest

from release.process import server_processes
from release.run_folder import RunFolder
from release.status import ServerStatus
from torchkeep.paths import Home

OCTETS = {"Content-Type": "application/octet-stream"}


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def has_ended(pid: int) -> bool:
    """Return whether a process is gone, or only waits for its parent to take note."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def port_of(address: str) -> int:
    """Return the port of an address that ends with it."""
    return int(address.rpartition(":")[2])


def predict(running: ServerStatus, token: str | None, body: bytes = b"12345") -> httpx.Response:
    """Ask TorchServe itself."""
    headers = OCTETS | ({"Authorization": f"Bearer {token}"} if token else {})
    return httpx.post(f"{running.torchserve_rest}/predictions/toy", content=body, headers=headers)


def infer(running: ServerStatus, token: str) -> httpx.Response:
    """Ask the gateway about a black image of the toy model."""
    pixels = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "UINT8", "data": [0] * 64}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{running.rest}/v2/models/toy/infer"
    return httpx.post(url, json={"inputs": [pixels]}, headers=headers)


def assert_nothing_left(home: Home, running: ServerStatus | None = None) -> None:
    run = RunFolder(home.run)
    assert server_processes(run) == []
    assert not run.keys.exists()
    assert not run.upstream.exists()
    assert not run.scratch.exists()
    assert not run.store.exists()
    assert not [path for path in home.root.rglob("*") if path.is_socket()]
    if running is not None:
        supervisor = running.pids.supervisor
        assert supervisor is None or until(lambda: has_ended(supervisor), 1)
        for port in map(port_of, (running.rest, running.grpc, running.observe, running.management)):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
