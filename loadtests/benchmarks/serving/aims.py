"""The ratios that Torchkeep aims at, and whether they are met.

A ratio is the median of the ratios within each round. It is told for each protocol: over REST
against REST, over gRPC against gRPC; against peers, the best of all their doors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from loadtests.benchmarks.serving.doors import Protocol
from loadtests.benchmarks.serving.rounds import Cell, Measured, Sample, median
from loadtests.benchmarks.serving.system import DEFAULT, PEERS, TORCHKEEP, TUNED

PROTOCOLS: tuple[Protocol, ...] = ("REST", "gRPC")

Value = Callable[[Sample], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One aim; `ratio` is None where a run it needs is void, or was not measured."""

    what: str
    ratio: float | None
    bound: float
    at_least: bool

    @property
    def met(self) -> bool | None:
        """Whether it is met; None if that is not known."""
        if self.ratio is None:
            return None
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound


def aims_of(architecture: str, measured: Measured) -> list[Aim]:
    """Return the aims for an architecture; there are some for `small_cnn` and `resnet18`."""
    if architecture == "small_cnn":
        return list(_small(measured))
    if architecture == "resnet18":
        return list(_large(measured))
    return []


def _small(measured: Measured) -> Iterator[Aim]:
    for protocol in PROTOCOLS:
        for other, clients, bound in (
            (DEFAULT, 32, 4.0),
            (DEFAULT, 128, 6.0),
            (TUNED, 32, 1.0),
            (TUNED, 128, 1.3),
        ):
            yield Aim(
                what=f"items/s over {other}, {protocol}, {clients} clients",
                ratio=_ratio(measured, _rate, other, protocol, clients),
                bound=bound,
                at_least=True,
            )
        for clients in (32, 128):
            yield Aim(
                what=f"items/s over the best peer, {protocol}, {clients} clients",
                ratio=_over_peers(measured, protocol, clients),
                bound=1.5,
                at_least=True,
            )
        yield Aim(
            what=f"median latency over {DEFAULT}, {protocol}, 1 client",
            ratio=_ratio(measured, _p50, DEFAULT, protocol, 1),
            bound=1.6,
            at_least=False,
        )


def _large(measured: Measured) -> Iterator[Aim]:
    for protocol in PROTOCOLS:
        runs = measured.good(Cell(server=TORCHKEEP, protocol=protocol, clients=128))
        yield Aim(
            what=f"items/s over raw forward passes, {protocol}, 128 clients",
            ratio=None if runs is None else _medians(list(map(_rate, runs)), measured.forward),
            bound=0.6,
            at_least=True,
        )
        yield Aim(
            what=f"p99 over {DEFAULT}, {protocol}, 1 client",
            ratio=_ratio(measured, _p99, DEFAULT, protocol, 1),
            bound=1.3,
            at_least=False,
        )


def _ratio(
    measured: Measured, value: Value, other: str, protocol: Protocol, clients: int
) -> float | None:
    ours = measured.good(Cell(server=TORCHKEEP, protocol=protocol, clients=clients))
    theirs = measured.good(Cell(server=other, protocol=protocol, clients=clients))
    if ours is None or theirs is None:
        return None
    return _medians(list(map(value, ours)), list(map(value, theirs)))


def _over_peers(measured: Measured, protocol: Protocol, clients: int) -> float | None:
    """Return the ratio to the best door of any peer in each round; None if none was measured."""
    ours = measured.good(Cell(server=TORCHKEEP, protocol=protocol, clients=clients))
    doors = [
        [_rate(run) for run in runs]
        for peer in PEERS
        for theirs in PROTOCOLS
        if (runs := measured.good(Cell(server=peer, protocol=theirs, clients=clients)))
    ]
    if ours is None or not doors:
        return None
    best = [max(rates) for rates in zip(*doors, strict=True)]
    return _medians(list(map(_rate, ours)), best)


def _medians(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return median([one / other for one, other in zip(ours, theirs, strict=True)])


def _rate(run: Sample) -> float:
    return run.load.rate


def _p50(run: Sample) -> float:
    return run.load.p50_ms


def _p99(run: Sample) -> float:
    return run.load.p99_ms
