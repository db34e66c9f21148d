"""LitServe and MLServer, each in an environment of its own, made once and kept.

A peer's folder under `loadtests/benchmarks/peers/` has its server and its pins. It computes with
`serving/network.py`, as everyone does, which it finds by PYTHONPATH: nothing of ours is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import loadtests.benchmarks.peers
from loadtests.benchmarks.serving.asking import answers
from loadtests.benchmarks.serving.doors import Door, element_grpc, element_rest, raw_rest
from loadtests.benchmarks.serving.processes import LOOPBACK, child, free_ports, wait_until
from loadtests.benchmarks.serving.system import LITSERVE, MLSERVER, START_S, Plan, Running
from torchkeep.errors import ServerError
from torchkeep.paths import Home

FOLDER = Path(loadtests.benchmarks.peers.__path__[0])
ROOT = FOLDER.parents[2]
INSTALL_S = 1800


def environment_of(peer: str, pip_arguments: Sequence[str] = ()) -> Path:
    """Return the interpreter of a peer's environment, made if it is not there as pinned.

    Raises `ServerError` if it cannot be.
    """
    pins = (FOLDER / peer / "requirements.txt").read_text(encoding="utf-8")
    folder = Home.default().root / "peers" / peer
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == _made_of(pins):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    pins_file = str(FOLDER / peer / "requirements.txt")
    command = [*pip, "--no-input", "install", "-qq", *pip_arguments, "-r", pins_file]
    ran = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=INSTALL_S, check=False
    )
    if ran.returncode:
        reason = (ran.stderr.strip() or "pip said nothing").splitlines()[-1]
        raise ServerError(f"{peer} cannot be installed: {reason}")
    stamp.write_text(_made_of(pins), encoding="utf-8")
    return python


def _made_of(pins: str) -> str:
    return f"{sys.version}\n{pins}"


@contextmanager
def litserve(pip: Sequence[str], plan: Plan, folder: Path) -> Iterator[Running]:
    """Serve by LitServe until the block ends. Raises `ServerError`."""
    (port,) = free_ports(1)
    door = raw_rest(f"http://{LOOPBACK}:{port}/predict", plan.image)
    with _peer("litserve", LITSERVE, [port], (door,), pip, plan, folder) as running:
        yield running


@contextmanager
def mlserver(pip: Sequence[str], plan: Plan, folder: Path) -> Iterator[Running]:
    """Serve by MLServer until the block ends. Raises `ServerError`."""
    http, rpc = free_ports(2)
    doors = (
        element_rest(f"http://{LOOPBACK}:{http}/v2/models/network/infer", plan.image),
        element_grpc(f"http://{LOOPBACK}:{rpc}", "network", plan.image),
    )
    with _peer("mlserver", MLSERVER, [http, rpc], doors, pip, plan, folder) as running:
        yield running


@contextmanager
def _peer(
    peer: str,
    name: str,
    ports: Sequence[int],
    doors: tuple[Door, ...],
    pip: Sequence[str],
    plan: Plan,
    folder: Path,
) -> Iterator[Running]:
    python = environment_of(peer, pip)
    options = [plan.workers, plan.max_batch, plan.max_wait_ms]
    server = [str(python), "-W", "ignore", str(FOLDER / peer / "server.py"), str(plan.artifact)]
    command = [*server, *map(str, ports), *map(str, options)]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": str(plan.threads),
    }
    log = folder / f"{peer}.log"
    with child(command, environment=environment, folder=folder, log=log) as process:
        wait_until(lambda: answers(doors[0]), process, log, seconds=START_S)
        yield Running(name=name, doors=doors, roots=lambda: [process.pid])
