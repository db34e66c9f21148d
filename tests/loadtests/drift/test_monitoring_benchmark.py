"""The benchmark of distances runs as a user runs it, and what it says follows from the runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from loadtests.benchmarks.drift.agreement import agreements
from loadtests.benchmarks.drift.contestants import EVIDENTLY, TORCHKEEP, Contestant, take_turn
from loadtests.benchmarks.drift.features import KINDS, drifted, names_of, values_of, write_features
from loadtests.benchmarks.monitoring import main
from loadtests.benchmarks.part import Goal, Part
from tests.house.source_files import ROOT
from torchkeep.errors import ServerError, UserError


def test_a_small_run_without_peers() -> None:
    command = [sys.executable, "-m", "loadtests.benchmarks.monitoring", "--peers", "--json"]
    sizes = ["--rows", "5000", "--features", "6", "--rounds", "1", "--checked", "4"]
    sizes += ["--records", "2000"]
    ran = subprocess.run(
        [*command, *sizes], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    part, store = document["parts"]
    assert [one["records"] for one in store["compactions"]] == [2000, 2000]
    (speed,) = part["speeds"]
    assert (speed["name"], speed["features"], len(speed["rounds"])) == (TORCHKEEP, 6, 1)
    assert 20 < speed["peak_mib"] < 1024
    assert {each["measure"] for each in part["agreements"]} == {
        "kl", "wasserstein", "jensen_shannon", "psi", "ks",
    }  # fmt: skip
    assert all(each["drifted_relative"] < 0.1 for each in part["agreements"])
    assert {goal["met"] for goal in part["goals"]} == {None}  # too small to say


@pytest.mark.parametrize("arguments", [["--rows", "0"], ["--environment", "NAME"]])
def test_senseless_arguments_are_refused(arguments: list[str]) -> None:
    affinity = os.sched_getaffinity(0)
    try:
        with pytest.raises(UserError, match=r"above 0|NAME=VALUE"):
            main(arguments)
    finally:
        os.sched_setaffinity(0, affinity)


def test_features_are_what_they_say(tmp_path: Path) -> None:
    rows = [values_of(number, 4000, current=False, part=0) for number in range(len(KINDS))]
    assert ((rows[2] == 0).mean() > 0.05, (rows[2] == 1).mean() > 0.05) == (True, True)
    assert 0.4 < (rows[3] == 0).mean() < 0.6
    assert len(np.unique(rows[4])) <= 256
    for number in range(2 * len(KINDS)):
        one, other = (values_of(number, 40_000, current=each, part=0) for each in (False, True))
        moved = abs(float(one.mean()) - float(other.mean())) / float(one.std())
        assert (moved > 0.05) == drifted(number)
    write_features(tmp_path / "file", 100, 2, current=True)
    table = pq.read_table(tmp_path / "file")
    assert table.column_names == names_of(2)
    np.testing.assert_array_equal(
        table.column(1).to_numpy(), values_of(1, 100, current=True, part=0)
    )


def test_agreement_is_told_apart_for_drift_and_none() -> None:
    scipy = {name: [0.01, 2.0] for name in ("ks", "psi")} | {
        name: [] for name in ("kl", "jensen_shannon", "wasserstein", "wasserstein_over_std")
    }
    theirs = {"ks": [0.02, 2.1, 9.0], "psi": [0.01, 2.0]}
    (found,) = agreements(EVIDENTLY, theirs, scipy)  # others' shares are over other bins
    assert found.measure == "ks"
    assert found.drifted_relative == pytest.approx(0.05)
    assert found.quiet_absolute == pytest.approx(0.01)
    assert [each.measure for each in agreements(TORCHKEEP, theirs, scipy)] == ["psi", "ks"]


def test_a_contestant_that_fails_is_told() -> None:
    script = "import sys; sys.exit('no such column')"
    broken = Contestant(name="Someone", command=(sys.executable, "-c", script), features=1)
    with pytest.raises(ServerError, match="Someone ended with 1: no such column"):
        take_turn(broken, {})


def test_a_part_says_which_goals_are_met() -> None:
    goals = [Goal("fast", True), Goal("small", False), Goal("right", None)]
    part = Part(title="A part", lines=["1 s"], goals=goals, numbers={"seconds": 1})
    assert part.text() == "A part\n1 s\nfast: met\nsmall: NOT MET\nright: not to be told here\n"
    assert part.to_json()["seconds"] == 1
