from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from torchkeep.artifact import ModelArtifact
from torchkeep.atomic_file import sha256_file
from torchkeep.cli.main import command
from torchkeep.errors import ArtifactError, UserError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path / "home"))


def test_package_writes_an_archive_into_the_store_of_the_settings(
    toy_artifact: ModelArtifact,
) -> None:
    Path("torchkeep.toml").write_text('[server]\nmodel_store = "archives"\n')
    result = CliRunner().invoke(command(), ["package", str(toy_artifact.path), "--json"])
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said == {
        "archive": "archives/toy.mar",
        "sha256": sha256_file(Path("archives/toy.mar")),
        "model": "toy",
        "version": "1.0",
        "artifact_digest": toy_artifact.digest,
    }


def test_package_takes_another_store_and_prints_the_archive(toy_artifact: ModelArtifact) -> None:
    arguments = ["package", str(toy_artifact.path), "--model-store", "other"]
    assert CliRunner().invoke(command(), arguments).stdout == "other/toy.mar\n"


def test_package_names_what_is_no_artifact() -> None:
    result = CliRunner().invoke(command(), ["package", "nowhere"])
    assert isinstance(result.exception, ArtifactError)
    assert "nowhere/artifact.json" in str(result.exception)
    assert not Path("model_store").exists()


def test_without_a_server_status_fails_down_does_not_and_there_is_no_token() -> None:
    status = CliRunner().invoke(command(), ["status", "--json"])
    assert status.exit_code == 1
    assert json.loads(status.stdout)["running"] is False
    assert CliRunner().invoke(command(), ["status"]).stdout == "no server is running here\n"
    down = CliRunner().invoke(command(), ["down"])
    assert (down.exit_code, down.stdout) == (0, "nothing was running\n")
    assert isinstance(CliRunner().invoke(command(), ["token"]).exception, UserError)
    assert not Path("home").exists()
