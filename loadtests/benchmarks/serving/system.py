"""What a server of the comparison is to the rest of the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from loadtests.benchmarks.serving.doors import Door, Image

DEFAULT = "TorchServe default"
TUNED = "TorchServe tuned"
TORCHKEEP = "Torchkeep"
LITSERVE = "LitServe"
MLSERVER = "MLServer"
NAMES = (DEFAULT, TUNED, TORCHKEEP, LITSERVE, MLSERVER)
PEERS = (LITSERVE, MLSERVER)

START_S = 180.0
"""Within which a server must answer; importing torch takes long on a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all servers have in common, so that only the servers differ.

    `image` is what is asked about; `max_batch` and `max_wait_ms` hold for all that batch but
    TorchServe; each worker computes with `threads` threads.
    """

    artifact: Path
    data: str | None  # that the artifact was trained on, if not where its record says
    image: Image  # C H W
    workers: int
    threads: int
    max_batch: int
    max_wait_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers; `roots` are the process ids whose trees are all of it.

    `records` counts what it has logged of its requests; those that log nothing have none.
    """

    name: str
    doors: tuple[Door, ...]
    roots: Callable[[], Collection[int]]
    records: Callable[[], int] | None = None


Start = Callable[[Plan, Path], AbstractContextManager[Running]]
"""Serve a plan, with a folder to write to, until the block ends. Raises `TorchkeepError`."""
