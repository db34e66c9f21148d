"""Packing: from a model artifact to the archive TorchServe loads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

from release.archive import CREATED, ENTRY, HANDLER, MODEL_CONFIG, entry_source, write_archive
from release.model_config import Device, ModelConfig
from release.vet import vet
from torchkeep.artifact import MANIFEST, ModelArtifact
from torchkeep.errors import ArtifactError

__all__ = ["package", "vet"]

ARCHIVER_TIMEOUT_S = 600
"""Far above what copying a few gigabytes takes."""


def package(artifact: ModelArtifact, model_store: Path) -> Path:
    """Pack `artifact` as `model_store/<name>.mar`; the same artifact gives the same bytes.

    An archive already there is replaced only once the new one has been vetted. Raises
    `ArtifactError` if the artifact does not match its hashes or the archive cannot be written.
    """
    target = model_store / f"{artifact.manifest.name}.mar"
    try:
        model_store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=model_store, prefix=".package-") as name:
            folder = Path(name)
            _archive(artifact, folder)
            new = folder / "new.mar"
            _write(folder / "out" / artifact.manifest.name, new)
            vet(new)
            with new.open("rb") as file:
                os.fsync(file.fileno())
            new.replace(target)
    except OSError as error:
        raise ArtifactError(
            f"{target} could not be written: {error.strerror or error}",
            remedy="Free some space or choose another model_store in [server].",
        ) from error
    return target


def _archive(artifact: ModelArtifact, folder: Path) -> None:
    """Let torch-model-archiver lay out the archive's content below `folder/out`."""
    for part in ("files", "out", "tmp"):
        (folder / part).mkdir()
    for name in (MANIFEST, *artifact.hashes):
        shutil.copyfile(artifact.path / name, folder / "files" / name)
    (folder / ENTRY).write_bytes(entry_source())
    model_config = ModelConfig(device=Device.of(artifact.manifest))
    (folder / MODEL_CONFIG).write_bytes(model_config.to_yaml())
    options = {
        "--model-name": artifact.manifest.name,
        "--version": artifact.manifest.version,
        "--handler": HANDLER,
        "--extra-files": "files",
        "--config-file": MODEL_CONFIG,
        "--export-path": "out",
        "--archive-format": "no-archive",
    }
    command = [sys.executable, "-P", "-m", "model_archiver.model_packaging"]
    for option, value in options.items():
        command += [option, value]
    try:
        # The archiver empties $TMPDIR/<model name> first: give it a TMPDIR of its own.
        subprocess.run(  # noqa: S603
            command,
            cwd=folder,
            env=os.environ | {"TMPDIR": str(folder.absolute() / "tmp")},
            capture_output=True,
            text=True,
            timeout=ARCHIVER_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        last_line = (error.stderr.strip() or "it said nothing").splitlines()[-1]
        raise ArtifactError(
            f"torch-model-archiver failed: {last_line}",
            remedy="Install the extra `serve`: pip install 'torchkeep[serve]'.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(
            f"torch-model-archiver did not end within {ARCHIVER_TIMEOUT_S:g} s",
            remedy="Try again when the disk is less busy.",
        ) from error


def _write(content: Path, target: Path) -> None:
    """Write the laid out folder as one archive, with a fixed date in place of today's."""
    ts_manifest = content / "MAR-INF" / "MANIFEST.json"
    said = orjson.loads(ts_manifest.read_bytes())
    ts_manifest.write_bytes(orjson.dumps(said | {"createdOn": CREATED}))
    files = (path for path in content.rglob("*") if path.is_file())
    write_archive(target, {path.relative_to(content).as_posix(): path for path in files})
