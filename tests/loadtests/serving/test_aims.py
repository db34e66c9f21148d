"""Ratios are medians of pairs within a round, and nothing void counts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from loadtests.benchmarks.serving.aims import Aim, aims_of
from loadtests.benchmarks.serving.doors import Protocol
from loadtests.benchmarks.serving.h2load import Load
from loadtests.benchmarks.serving.rounds import Cell, Measured, Sample
from loadtests.benchmarks.serving.system import DEFAULT, LITSERVE, MLSERVER, TORCHKEEP, TUNED

Runs = Sequence[Sample | str]
VOID = "of 10 requests 9 have a good status"


def run(rate: float, p50: float = 1.0, p99: float = 2.0) -> Sample:
    load = Load(requests=round(100 * rate), seconds=100.0, p50_ms=p50, p99_ms=p99)
    return Sample(load=load, cpu_s=1.0)


def runs(*rates: float) -> Runs:
    return [run(rate) for rate in rates]


def cell(server: str, clients: int, protocol: Protocol = "REST") -> Cell:
    return Cell(server=server, protocol=protocol, clients=clients)


def measured(samples: dict[Cell, Runs], forward: Sequence[float] = (100.0,) * 3) -> Measured:
    return Measured(samples=samples, forward=forward, requests={})


def aim(architecture: str, what: str, samples: dict[Cell, Runs]) -> Aim:
    (found,) = (each for each in aims_of(architecture, measured(samples)) if each.what == what)
    return found


def test_a_ratio_is_the_median_of_those_within_each_round() -> None:
    """The machine is ten times slower in the second round: for both."""
    samples = {
        cell(TORCHKEEP, 32): runs(4000, 500, 4500),
        cell(DEFAULT, 32): runs(1000, 100, 1000),
    }
    found = aim("small_cnn", f"items/s over {DEFAULT}, REST, 32 clients", samples)
    assert found.ratio == pytest.approx(4.5)
    assert found.met


def test_a_void_run_makes_a_ratio_unknown() -> None:
    samples = {cell(TORCHKEEP, 32): runs(9, 9, 9), cell(TUNED, 32): [run(1), VOID, run(1)]}
    found = aim("small_cnn", f"items/s over {TUNED}, REST, 32 clients", samples)
    assert (found.ratio, found.met) == (None, None)


def test_what_was_not_measured_is_unknown() -> None:
    assert {found.met for found in aims_of("small_cnn", measured({}))} == {None}


def test_the_best_peer_is_the_best_door_of_any_peer_in_each_round() -> None:
    samples = {
        cell(TORCHKEEP, 32, "gRPC"): runs(30, 30, 30),
        cell(LITSERVE, 32, "REST"): runs(10, 20, 5),
        cell(MLSERVER, 32, "REST"): runs(5, 5, 5),
        cell(MLSERVER, 32, "gRPC"): runs(15, 10, 10),
        cell(MLSERVER, 128, "gRPC"): runs(99, 99, 99),
    }
    found = aim("small_cnn", "items/s over the best peer, gRPC, 32 clients", samples)
    assert found.ratio == pytest.approx(2.0)  # of 2, 1.5 and 3


def test_a_latency_must_be_low() -> None:
    what = f"median latency over {DEFAULT}, REST, 1 client"
    slow = {cell(TORCHKEEP, 1): [run(1, p50=1.7)], cell(DEFAULT, 1): [run(1, p50=1.0)]}
    fast = {cell(TORCHKEEP, 1): [run(1, p50=1.5)], cell(DEFAULT, 1): [run(1, p50=1.0)]}
    assert aim("small_cnn", what, slow).met is False
    assert aim("small_cnn", what, fast).met is True


def test_a_large_network_is_held_to_its_raw_forward_passes() -> None:
    samples = {cell(TORCHKEEP, 128): runs(59, 61, 62)}
    found = aim("resnet18", "items/s over raw forward passes, REST, 128 clients", samples)
    assert found.ratio == pytest.approx(0.61)
    assert found.met


def test_other_architectures_have_no_aims() -> None:
    assert aims_of("another", measured({})) == []
