"""A local server that speaks S3: moto's, in an environment of its own, made once and kept."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.house.source_files import ROOT
from tests.own_environment import python_of

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = ROOT / ".torchkeep" / "s3-server"
INSTALL_S = 280
START_S = 60.0


@contextmanager
def s3_server(port: int) -> Iterator[str]:
    """Run a server without any bucket; yield its address."""
    address = f"http://127.0.0.1:{port}"
    command = [
        str(python_of(FOLDER, REQUIREMENTS, install_s=INSTALL_S)),
        "-m",
        "moto.server",
        "-H",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(address, process)
            yield address
        finally:
            process.kill()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(f"{address}/moto-api/", timeout=5.0)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"no S3 server at {address}")
