"""The benchmark itself, on real servers; long, for it starts two of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtests.benchmarks.serving.h2load import PROGRAM
from loadtests.benchmarks.serving.system import DEFAULT, TORCHKEEP
from torchkeep.artifact import ModelArtifact

pytestmark = [
    pytest.mark.long,
    pytest.mark.torchserve,
    pytest.mark.skipif(
        shutil.which(PROGRAM) is None, reason="no h2load; run scripts/install-debian-packages"
    ),
]


def benchmark(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if "TORCHKEEP" not in name}
    return subprocess.run(
        [sys.executable, "-m", "loadtests.benchmarks.serve", *words],
        env={**environment, "TORCHKEEP_HOME": str(folder / "home"), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def measured(digits_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("b")
    words = ["--artifact", str(digits_artifact.path), "--only", "artifact", "--json"]
    short = ["--rounds", "2", "--seconds", "0.2", "--clients", "1", "8"]
    ran = benchmark(folder, *words, *short, "--servers", DEFAULT, TORCHKEEP)
    assert ran.returncode == 0, ran.stderr
    assert list(folder.iterdir()) == [folder / "home"]  # the scratch folder is gone
    assert not [one for one in psutil.process_iter() if str(folder) in " ".join(_words(one))]
    (result,) = json.loads(ran.stdout)["results"]
    return result


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_each_door_is_measured_at_each_concurrency_in_each_round(measured: Any) -> None:
    cells = {(one["server"], one["protocol"], one["clients"]) for one in measured["figures"]}
    assert cells == {
        (server, protocol, clients)
        for server in (DEFAULT, TORCHKEEP)
        for protocol in ("REST", "gRPC")
        for clients in (1, 8)
    }
    for figure in measured["figures"]:
        assert len(figure["runs"]) == 2
        for run in figure["runs"]:
            assert run.get("void") is None
            assert run["items_per_s"] > 1
            assert run["p50_ms"] <= run["p99_ms"]
            assert run["cpu_s_per_1000_items"] > 0


def test_every_answered_item_left_its_two_records(measured: Any) -> None:
    logged = measured["logged"]
    assert logged["records"] == 2 * logged["answered"] > 0


def test_an_artifact_without_detectors_is_refused(
    digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    bare = shutil.copytree(digits_artifact.path, tmp_path / "bare")
    manifest = json.loads((bare / "artifact.json").read_bytes())
    (bare / "screening.safetensors").unlink()
    del manifest["files"]["screening.safetensors"]
    (bare / "artifact.json").write_text(json.dumps({**manifest, "screening": None}))
    ran = benchmark(tmp_path, "--only", "artifact", "--artifact", str(bare))
    assert ran.returncode == 2
    assert "has no detectors" in ran.stderr
