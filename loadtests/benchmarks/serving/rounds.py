"""Rounds: every door at every concurrency once, then all of it again; medians are compared.

So a machine that is slow for a while is slow for everyone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from loadtests.benchmarks.serving.asking import check
from loadtests.benchmarks.serving.doors import Door, Protocol
from loadtests.benchmarks.serving.h2load import Load, VoidRunError, run_load
from loadtests.benchmarks.serving.network import Network
from loadtests.benchmarks.serving.processes import cpu_seconds
from loadtests.benchmarks.serving.system import Plan, Running

WARM_CLIENTS = 32
LEAST_A_CLIENT = 4
"""Requests of each client, at least: with fewer a run would be mostly its beginning and end."""
MOST_REQUESTS = 200_000

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is measured: a server, a protocol, and so many clients."""

    server: str
    protocol: Protocol
    clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of one cell; `cpu_s` is what the server's processes used for 1,000 items."""

    load: Load
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All rounds of one case: what each run gave, or why it is void; raw forward passes beside it.

    `forward` are items per second of the network alone, one figure a round.
    """

    samples: Mapping[Cell, Sequence[Sample | str]]
    forward: Sequence[float]
    requests: Mapping[str, int]  # that each server answered, warm-up included

    def good(self, cell: Cell) -> list[Sample] | None:
        """Return the runs of a cell in order; None if there are none, or one of them is void."""
        runs = self.samples.get(cell, ())
        good = [run for run in runs if isinstance(run, Sample)]
        return good if good and len(good) == len(runs) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long is measured."""

    rounds: int
    seconds: float  # of one run, about
    clients: tuple[int, ...]


class Rounds:
    """Measures servers that run."""

    def __init__(
        self, servers: Collection[Running], plan: Plan, folder: Path, progress: Progress
    ) -> None:
        self._servers = servers
        self._folder = folder
        self._progress = progress
        torch.set_num_threads(plan.threads)  # raw passes have what each worker has
        self._network = Network(plan.artifact)
        image = plan.image.tobytes()
        self._expected = self._network.probabilities([image])[0]
        pixels = torch.frombuffer(bytearray(image * plan.max_batch), dtype=torch.uint8)
        self._batch = pixels.view(-1, *plan.image.shape).float().div_(255)
        self._answer_bytes: dict[tuple[str, Protocol], int] = {}
        self._rates: dict[Cell, float] = {}
        self._requests = dict.fromkeys((server.name for server in servers), 0)

    def measure(self, schedule: Schedule) -> Measured:
        """Check that all servers answer rightly, warm them up, and measure.

        Raises `ServerError` if one answers wrongly.
        """
        self._warm_up(schedule)
        samples: dict[Cell, list[Sample | str]] = {}
        forward = []
        for number in range(schedule.rounds):
            forward.append(self._forward(schedule.seconds))
            for clients in schedule.clients:
                for server in self._servers:
                    for door in server.doors:
                        cell = Cell(server=server.name, protocol=door.protocol, clients=clients)
                        run = self._run(cell, server, door, schedule.seconds)
                        samples.setdefault(cell, []).append(run)
                        self._tell(number, cell, run)
        return Measured(samples=samples, forward=forward, requests=self._requests)

    def _warm_up(self, schedule: Schedule) -> None:
        """See that all answer rightly, and how fast: a short run tells how long the next one is."""
        for server in self._servers:
            for door in server.doors:
                self._progress(f"warming up {server.name}, {door.protocol} ...")
                size = check(door, self._expected)
                self._answer_bytes[server.name, door.protocol] = size
                self._requests[server.name] += 1
                cell = Cell(server=server.name, protocol=door.protocol, clients=WARM_CLIENTS)
                for _ in range(2):
                    self._run(cell, server, door, schedule.seconds)

    def _run(self, cell: Cell, server: Running, door: Door, seconds: float) -> Sample | str:
        before = cpu_seconds(server.roots())
        requests = self._requests_for(cell, seconds)
        try:
            load = run_load(
                door,
                clients=cell.clients,
                requests=requests,
                answer_bytes=self._answer_bytes[cell.server, cell.protocol],
                folder=self._folder,
            )
        except VoidRunError as error:
            return str(error)
        used = cpu_seconds(server.roots()) - before
        self._rates[cell] = load.rate
        self._requests[cell.server] += requests
        return Sample(load=load, cpu_s=1000 * used / requests)

    def _requests_for(self, cell: Cell, seconds: float) -> int:
        """Return how many requests take about so long, by the run before or one like it."""
        least = LEAST_A_CLIENT * cell.clients
        known = [cell, *(each for each in self._rates if _alike(each, cell))]
        rate = next((self._rates[each] for each in known if each in self._rates), 0.0)
        return min(max(least, round(rate * seconds)), MOST_REQUESTS)

    @torch.inference_mode()
    def _forward(self, seconds: float) -> float:
        """Return items per second of the network alone, on full batches."""
        self._network.model(self._batch)
        passes, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            self._network.model(self._batch)
            passes += 1
        return passes * len(self._batch) / (time.perf_counter() - begun)

    def _tell(self, number: int, cell: Cell, run: Sample | str) -> None:
        what = f"round {number + 1}: {cell.server}, {cell.protocol}, {cell.clients} clients: "
        if isinstance(run, str):
            self._progress(f"{what}void: {run}")
        else:
            self._progress(
                f"{what}{run.load.rate:.0f}/s, p50 {run.load.p50_ms:.1f} ms, "
                f"p99 {run.load.p99_ms:.1f} ms, CPU {run.cpu_s:.2f} s for 1,000"
            )


def _alike(one: Cell, other: Cell) -> bool:
    return one.server == other.server and one.protocol == other.protocol


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return float(statistics.median(values))
