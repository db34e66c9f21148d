"""Who is measured: each in a process of its own, on the same files, told by its last line.

F features
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.benchmarks.serving.peers import FOLDER, ROOT, environment_of
from torchkeep.errors import ServerError

TORCHKEEP = "Torchkeep"
EVIDENTLY = "Evidently"
NANNYML = "NannyML"
PEERS = {EVIDENTLY: "evidently", NANNYML: "nannyml"}
MEASURES = {TORCHKEEP: 5, EVIDENTLY: 5, NANNYML: 3}
"""How many measures of a feature each computes."""
LIMIT_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A command that compares two files, and on how many features it is run."""

    name: str
    command: tuple[str, ...]
    features: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One run: seconds and MiB of a process, values by measure."""

    seconds: float
    cpu_seconds: float
    prepare_seconds: float
    peak_mib: float
    values: Mapping[str, Sequence[float]]
    versions: Mapping[str, str]


def ours(files: Sequence[Path], features: int, threads: int) -> Contestant:
    """Return Torchkeep, which compares all features."""
    script = (sys.executable, "-m", "loadtests.benchmarks.drift.ours")
    return Contestant(
        name=TORCHKEEP,
        command=(*script, *map(str, files), str(features), str(threads)),
        features=features,
    )


def peer(name: str, files: Sequence[Path], features: int, pip: Sequence[str]) -> Contestant:
    """Return a peer, its environment made if need be. Raises `ServerError` if it cannot be."""
    python = environment_of(PEERS[name], pip)
    script = (str(python), "-W", "ignore", str(FOLDER / PEERS[name] / "measure.py"))
    return Contestant(
        name=name, command=(*script, *map(str, files), str(features)), features=features
    )


def take_turn(contestant: Contestant, extra: Mapping[str, str]) -> Turn:
    """Run it once. Raises `ServerError` with its last word if it fails."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        **extra,
    }
    try:
        ran = subprocess.run(  # noqa: S603
            contestant.command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{contestant.name} took more than {LIMIT_S} s") from error
    if ran.returncode:
        lines = ran.stderr.strip().splitlines() or ["nothing"]
        raise ServerError(f"{contestant.name} ended with {ran.returncode}: {lines[-1]}")
    told: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return Turn(**told)
