"""What was measured is told whole: figures, what is void, what is missing, and the aims."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from loadtests.benchmarks.serving.h2load import Load
from loadtests.benchmarks.serving.results import Logged, Result, lines_of
from loadtests.benchmarks.serving.rounds import Cell, Measured, Sample
from loadtests.benchmarks.serving.system import DEFAULT, LITSERVE, TORCHKEEP, Plan

PLAN = Plan(
    artifact=Path("a"),
    data=None,
    image=np.zeros((1, 28, 28), np.uint8),
    workers=1,
    threads=1,
    max_batch=64,
    max_wait_ms=2.0,
)


def run(rate: float) -> Sample:
    load = Load(requests=int(rate), seconds=1.0, p50_ms=1e3 / rate, p99_ms=2e3 / rate)
    return Sample(load=load, cpu_s=0.25)


def result() -> Result:
    ours = Cell(server=TORCHKEEP, protocol="REST", clients=32)
    theirs = Cell(server=DEFAULT, protocol="REST", clients=32)
    void = Cell(server=DEFAULT, protocol="gRPC", clients=32)
    samples = {
        ours: [run(4000), run(5000), run(4500)],
        theirs: [run(1000)] * 3,
        void: [run(900), "of 900 requests 899 have a good status", run(900)],
    }
    return Result(
        architecture="small_cnn",
        plan=PLAN,
        measured=Measured(samples=samples, forward=[9000.0] * 3, requests={TORCHKEEP: 13_500}),
        left_out={LITSERVE: "litserve cannot be installed: no network"},
        logged=Logged(answered=13_500, records=27_000),
    )


def test_the_table_has_a_row_for_each_cell_and_says_what_is_void() -> None:
    lines = list(lines_of(result()))
    assert "| Torchkeep | REST | 32 | 4,500 | 0.22 | 0.44 | 0.25 |" in lines
    (void,) = (line for line in lines if line.startswith(f"| {DEFAULT} | gRPC | 32 |"))
    assert "void (1 of 3): of 900 requests 899 have a good status" in void
    assert "Left out: LitServe: litserve cannot be installed: no network" in lines
    assert "Torchkeep answered 13,500 items and logged 27,000 records." in lines
    assert f"| items/s over {DEFAULT}, REST, 32 clients | 4.50 | ≥ 4 | met |" in lines
    assert f"| items/s over {DEFAULT}, gRPC, 32 clients | not measured | ≥ 4 |  |" in lines


def test_every_row_of_a_table_has_as_many_columns_as_its_head() -> None:
    columns = 0
    for line in lines_of(result()):
        if not line.startswith("|"):
            columns = 0
            continue
        columns = columns or line.count("|")
        assert line.count("|") == columns


def test_the_json_holds_every_run() -> None:
    document = json.loads(json.dumps(result().to_json()))
    runs = [run for figure in document["figures"] for run in figure["runs"]]
    assert len(runs) == 9
    assert [run for run in runs if "void" in run] == [
        {"void": "of 900 requests 899 have a good status"}
    ]
    met = {aim["what"]: aim["met"] for aim in document["aims"]}
    assert met[f"items/s over {DEFAULT}, REST, 32 clients"] is True
    assert met[f"items/s over {DEFAULT}, gRPC, 32 clients"] is None
