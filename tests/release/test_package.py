from __future__ import annotations

import hashlib
import os
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from release.model_config import Device, ModelConfig
from release.package import package, vet
from torchkeep.artifact import ModelArtifact
from torchkeep.errors import ArtifactError


def test_an_archive_is_named_after_its_model_and_passes_vetting(
    toy_artifact: ModelArtifact, tmp_path: Path
) -> None:
    archive = package(toy_artifact, tmp_path / "new" / "store")
    assert archive == tmp_path / "new" / "store" / "toy.mar"
    assert [path.name for path in archive.parent.iterdir()] == ["toy.mar"]
    vet(archive)


def test_the_same_artifact_packs_to_the_same_bytes(
    toy_artifact: ModelArtifact, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(toy_artifact.path, copy)
    os.utime(copy / "artifact.json", (0, 0))
    archives = [
        package(toy_artifact, tmp_path / "a"),
        package(toy_artifact, tmp_path / "a"),
        package(ModelArtifact.load(copy), tmp_path / "b"),
    ]
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in archives}) == 1


def test_an_archive_holds_the_artifact_unchanged_and_the_entry_point(
    toy_artifact: ModelArtifact, toy_archive: Path
) -> None:
    with zipfile.ZipFile(toy_archive) as archive:
        for name in ("artifact.json", "model.safetensors"):
            assert archive.read(name) == (toy_artifact.path / name).read_bytes()
        said = orjson.loads(archive.read("MAR-INF/MANIFEST.json"))
        config = ModelConfig.from_yaml(archive.read("model-config.yaml"))
        assert config == ModelConfig(device=Device.GPU), "without detectors, any device will do"
    assert said["model"] == {
        "modelName": "toy",
        "modelVersion": "1.0",
        "handler": "entry:handle",
        "configFile": "model-config.yaml",
    }


def test_packing_leaves_a_folder_named_like_the_model_in_tmp_alone(
    toy_artifact: ModelArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    precious = tmp_path / "tmp" / "toy" / "precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    package(toy_artifact, tmp_path / "store")
    assert precious.read_text() == "mine"


def test_a_changed_artifact_is_not_packed_and_the_old_archive_stays(
    toy_artifact: ModelArtifact, toy_archive: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(toy_artifact.path, changed)
    weights = bytearray((changed / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "model.safetensors").write_bytes(weights)
    before = toy_archive.read_bytes()
    with pytest.raises(ArtifactError, match=r"model\.safetensors was changed"):
        package(replace(toy_artifact, path=changed), toy_archive.parent)
    assert toy_archive.read_bytes() == before
    assert [path.name for path in toy_archive.parent.iterdir()] == ["toy.mar"]


def test_a_store_that_cannot_be_written_is_named(
    toy_artifact: ModelArtifact, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactError, match=r"file/store.* could not be written"):
        package(toy_artifact, tmp_path / "file" / "store")


def test_an_archiver_that_does_not_end_is_one_line(
    toy_artifact: ModelArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("release.package.ARCHIVER_TIMEOUT_S", 0.001)
    with pytest.raises(ArtifactError, match=r"torch-model-archiver did not end within 0\.001 s"):
        package(toy_artifact, tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_full_disk_leaves_no_archive(toy_artifact: ModelArtifact, tmp_path: Path) -> None:
    import resource
    import subprocess

    program = (
        "import sys; from pathlib import Path; from release.package import package;"
        "from torchkeep.artifact import ModelArtifact; from torchkeep.errors import ArtifactError\n"
        "try: package(ModelArtifact.load(Path(sys.argv[1])), Path(sys.argv[2]))\n"
        "except ArtifactError as error: sys.exit(str(error))"
    )
    # A file may not outgrow 2,000 bytes: writing fails midway, as on a full disk.
    finished = subprocess.run(
        [sys.executable, "-c", program, str(toy_artifact.path), str(tmp_path / "store")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert "could not be written: File too large" in finished.stderr
    assert list((tmp_path / "store").iterdir()) == []
