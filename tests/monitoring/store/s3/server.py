"""A local server that speaks S3: moto's, in an environment of its own, made once and kept."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.house.source_files import ROOT

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = ROOT / ".torchkeep" / "s3-server"
INSTALL_S = 280
START_S = 60.0


@contextmanager
def s3_server(port: int) -> Iterator[str]:
    """Run a server without any bucket; yield its address."""
    address = f"http://127.0.0.1:{port}"
    command = [str(_python()), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
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


def _python() -> Path:
    """The interpreter of the environment, which is made if need be."""
    python, stamp = FOLDER / "bin" / "python", FOLDER / REQUIREMENTS.name
    wanted = REQUIREMENTS.read_bytes()
    if stamp.exists() and stamp.read_bytes() == wanted and python.exists():
        return python
    shutil.rmtree(FOLDER, ignore_errors=True)
    venv.create(FOLDER, with_pip=False)
    command = [sys.executable, "-m", "pip", "--python", str(python), "--no-input", "install", "-qq"]
    subprocess.run([*command, "-r", str(REQUIREMENTS)], check=True, timeout=INSTALL_S)
    stamp.write_bytes(wanted)
    return python
