"""Torchkeep as a user starts it: `torchkeep up`, with keys, screening and the request log on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loadtests.benchmarks.serving.doors import tensor_grpc, tensor_rest
from loadtests.benchmarks.serving.system import START_S, TORCHKEEP, Plan, Running
from torchkeep.errors import ServerError
from torchkeep.paths import Home

HOME = "home"
KEPT = ("TORCHKEEP_DATA_", "TORCHKEEP_MODELS_")
"""Settings of the caller's that count here, too; all others are the benchmark's or the defaults."""


@contextmanager
def serve(plan: Plan, folder: Path) -> Iterator[Running]:
    """Serve the artifact until the block ends. Raises `ServerError`."""
    environment = _environment(plan, folder / HOME)
    data = [] if plan.data is None else ["--data", plan.data]
    try:
        words = ["up", "--artifact", str(plan.artifact), *data, "--json"]
        said = json.loads(_torchkeep(words, environment, folder))
        token = _torchkeep(["token"], environment, folder).strip()
        yield _running(said, token, plan, folder)
    finally:
        _torchkeep(["down"], environment, folder)


def _running(said: dict[str, Any], token: str, plan: Plan, folder: Path) -> Running:
    pids = said["pids"]
    roots = [pids["supervisor"], pids["gateway"], pids["frontend"]]
    headers = {"authorization": f"Bearer {token}"}
    model = said["model"]
    address = said["grpc"].replace("grpc://", "http://")
    return Running(
        name=TORCHKEEP,
        doors=(
            tensor_rest(f"{said['rest']}/v2/models/{model}/infer", plan.image, headers),
            tensor_grpc(address, model, plan.image, headers),
        ),
        roots=lambda: roots,
        records=lambda: _records(folder),
    )


def _records(folder: Path) -> int:
    """Return how many records the request log of a server in `folder` has."""
    count = 0
    for segment in (folder / HOME / "request-log").iterdir():
        with segment.open("rb") as file:
            while block := file.read(1 << 20):
                count += block.count(b"\n")
    return count


def _torchkeep(words: list[str], environment: dict[str, str], folder: Path) -> str:
    """Run a verb in a folder of its own, where no other settings lie; return what it prints."""
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-m", "torchkeep.cli", *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * START_S,
        check=False,
        start_new_session=True,  # Ctrl-C reaches us alone, and we end it in order
    )
    if ran.returncode:
        reason = (ran.stderr.strip() or "it said nothing").splitlines()[-1]
        raise ServerError(f"torchkeep {words[0]} failed: {reason}")
    return ran.stdout


def _environment(plan: Plan, home: Path) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TORCHKEEP_") or name.startswith(KEPT)
    }
    ports = {
        "SERVER": ("REST", "GRPC", "MANAGEMENT", "METRICS", "GRPC_MANAGEMENT"),
        "GATEWAY": ("HTTP", "GRPC", "OBSERVE"),
    }
    free = {
        f"TORCHKEEP_{section}_{name}_PORT": "0"
        for section, names in ports.items()
        for name in names
    }
    return {
        "TORCHKEEP_DATA_DIRECTORY": str(Home.default().data),
        **inherited,
        **free,
        "TORCHKEEP_HOME": str(home),
        "TORCHKEEP_SERVER_MODEL_STORE": str(home / "model-store"),
        "TORCHKEEP_SERVER_WORKERS": str(plan.workers),
        "TORCHKEEP_SERVER_THREADS_PER_WORKER": str(plan.threads),
        "TORCHKEEP_GATEWAY_MAX_BATCH": str(plan.max_batch),
        "TORCHKEEP_GATEWAY_MAX_WAIT_MS": str(plan.max_wait_ms),
    }
