"""`torchkeep certify` on a small network: proofs, going on, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import quiet
from torchkeep.artifact import ModelArtifact
from torchkeep.errors import SettingsError

pytestmark = pytest.mark.timeout(200)


def certify(artifact: ModelArtifact, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torchkeep.cli", "certify", str(artifact.path), *words]
    surroundings = os.environ | {
        "TORCHKEEP_HOME": str(home),
        "TORCHKEEP_DATA_DIRECTORY": str(home / "data"),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        command, capture_output=True, text=True, env=surroundings, cwd=home, check=False
    )


def test_proofs_are_told_kept_and_gone_on_with(
    digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    words = ("--eps", "0.01", "--eps", "0.03", "--json", "--samples", str(tmp_path / "rows.csv"))
    first = certify(digits_artifact, tmp_path, *words, "-n", "20")
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    shares = [point["y"] for point in result["certified"][0]["points"]]
    assert (result["method"], result["norm"], result["n"]) == ("linear", "linf", 20)
    assert shares == sorted(shares, reverse=True)
    assert shares[1] > 0.5
    again = certify(digits_artifact, tmp_path, *words, "-n", "40")
    assert again.returncode == 0, again.stderr
    assert "certify 0/40" not in again.stderr  # the first 20 are not proved again
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(40))
    proved = sum(float(row["radius"]) >= 0.03 for row in rows) / 40
    assert proved == pytest.approx(json.loads(again.stdout)["certified"][0]["points"][2]["y"])


def test_smoothing_finds_radii_by_itself(digits_artifact: ModelArtifact, tmp_path: Path) -> None:
    words = ("--method", "smoothing", "--draws", "500", "-n", "5", "--json")
    result = certify(digits_artifact, tmp_path, *words)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["norm"] == "l2"


@pytest.mark.parametrize(
    ("ordered", "told"),
    [
        ({"radii": (1.5,)}, "up to 1"),
        ({"radii": (0.0,)}, "above 0"),
        ({"images": 100_000}, "Give -n up to"),
        ({"method": "magic"}, "interval, linear or smoothing"),
        ({"method": "smoothing", "radii": (0.1,)}, "Leave out --eps"),
        ({"sigma": -1.0}, "sigma above 0"),
    ],
)
def test_what_cannot_be_done_is_refused(
    ordered: dict[str, Any],
    told: str,
    digits_artifact: ModelArtifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torchkeep.cli.certification import Order, run

    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHKEEP_DATA_DIRECTORY", str(tmp_path / "data"))
    with pytest.raises(SettingsError) as refused:
        run(Order(artifact=digits_artifact.path, **ordered), quiet)
    assert told in str(refused.value)


def test_a_refusal_is_one_line_and_exit_code_2(
    digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    result = certify(digits_artifact, tmp_path, "--eps", "2")
    assert result.returncode == 2
    assert result.stderr.count("error:") == 1
    assert "Traceback" not in result.stderr
