"""Vetting: an archive may carry data and our entry module, and nothing else.

TorchServe unpacks whatever zip it is given, without a limit, and runs the Python inside. So an
archive is first read by the rules of `release.archive`, into a private folder, and what is served
is written from that folder again.
"""

from __future__ import annotations

import shutil
import stat
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path

import orjson

from release.archive import (
    CREATED,
    ENTRY,
    HANDLER,
    MAX_ARCHIVE_BYTES,
    MEMBERS,
    MODEL_CONFIG,
    REQUIRED,
    TS_MANIFEST,
    Members,
    entry_source,
    write_archive,
)
from release.model_config import ModelConfig
from torchkeep.artifact import FILES as ARTIFACT_FILES
from torchkeep.artifact import MAX_MANIFEST_BYTES, Manifest, ModelArtifact
from torchkeep.atomic_file import sha256_file
from torchkeep.errors import ArtifactError

_PICKLES = frozenset({".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib", ".npy", ".npz"})
_REMEDY = "Pack the artifact again with `torchkeep package`."


@dataclass(frozen=True, slots=True)
class VettedArchive:
    """An archive whose members lie checked in a private folder."""

    manifest: Manifest
    artifact_digest: str
    digest: str
    members: Members


def vet(archive: Path) -> None:
    """Check an archive before it is served or registered.

    Raises `ArtifactError` that names the archive and what is wrong with it.
    """
    with opened(archive):
        pass


@contextmanager
def opened(archive: Path, *, scratch: Path | None = None) -> Iterator[VettedArchive]:
    """Yield the archive's checked members, unpacked below `scratch` while the block runs.

    Raises `ArtifactError` as `vet` does.
    """
    try:
        folder = Path(tempfile.mkdtemp(dir=scratch, prefix="vet-"))
    except OSError as error:
        raise ArtifactError(f"{archive} cannot be checked: {error.strerror}") from error
    try:
        yield _explained(archive, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _explained(archive: Path, folder: Path) -> VettedArchive:
    try:
        return _vet(archive, folder)
    except OSError as error:
        raise ArtifactError(f"{archive} cannot be checked: {error.strerror or error}") from error
    except ArtifactError as error:
        fault = error.message.replace(f"{folder / 'members'}/", "")
        raise ArtifactError(f"{archive} may not be served: {fault}", remedy=_REMEDY) from error


def _vet(archive: Path, folder: Path) -> VettedArchive:
    members = _unpack(archive, folder / "members")
    artifact = ModelArtifact.load(folder / "members")
    if members[ENTRY].read_bytes() != entry_source():
        raise ArtifactError(f"its {ENTRY} is not the one of this version")
    ModelConfig.from_yaml(members[MODEL_CONFIG].read_bytes())
    _check_ts_manifest(members[TS_MANIFEST].read_bytes(), artifact.manifest)
    rewritten = folder / "rewritten.mar"
    write_archive(rewritten, members)
    if not cmp(archive, rewritten, shallow=False):
        raise ArtifactError("it holds bytes that belong to none of its members")
    return VettedArchive(artifact.manifest, artifact.digest, sha256_file(rewritten), members)


def _unpack(archive: Path, folder: Path) -> Members:
    state = archive.lstat()
    if not stat.S_ISREG(state.st_mode):
        raise ArtifactError("it is not a plain file")
    if state.st_size > MAX_ARCHIVE_BYTES:
        raise ArtifactError(f"it has {state.st_size} bytes, more than {MAX_ARCHIVE_BYTES}")
    try:
        with zipfile.ZipFile(archive) as opened_archive:
            _check_members(opened_archive.infolist(), state.st_size)
            return {
                info.filename: _extract(opened_archive, info, folder / info.filename)
                for info in opened_archive.infolist()
            }
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error) as error:
        raise ArtifactError(f"it is damaged: {error}") from error


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file, 1024 * 1024)
    return target


def _check_members(infos: list[zipfile.ZipInfo], size: int) -> None:
    for info in infos:
        _check_name(info.orig_filename)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ArtifactError(f"{info.filename} is a symbolic link")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ArtifactError(f"{info.filename} is compressed, so its size cannot be trusted")
        if info.filename not in ARTIFACT_FILES and info.file_size > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{info.filename} has {info.file_size} bytes")
    claimed = sum(info.file_size for info in infos)
    if claimed > size:
        raise ArtifactError(f"its members claim {claimed} bytes, but it has {size}")
    names = [info.filename for info in infos]
    if len(set(names)) != len(names):
        raise ArtifactError("it holds two members of one name")
    if missing := REQUIRED - set(names):
        raise ArtifactError(f"it lacks {', '.join(sorted(missing))}")


def _check_name(name: str) -> None:
    if name in MEMBERS:
        return
    shown = name.encode("unicode_escape").decode()[:80]
    if name.startswith(("/", "\\")) or ":" in name or ".." in name:
        raise ArtifactError(f"member {shown!r} leads out of the archive's folder")
    if Path(name).suffix.lower() in _PICKLES:
        raise ArtifactError(f"member {shown!r} could run code when it is loaded")
    raise ArtifactError(f"member {shown!r} does not belong in an archive")


def _check_ts_manifest(content: bytes, manifest: Manifest) -> None:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ArtifactError(f"its {TS_MANIFEST} is not JSON") from error
    expected = {
        "createdOn": CREATED,
        "runtime": "python",
        "model": {
            "modelName": manifest.name,
            "handler": HANDLER,
            "modelVersion": manifest.version,
            "configFile": MODEL_CONFIG,
        },
    }
    if not isinstance(found, dict) or not isinstance(found.pop("archiverVersion", None), str):
        raise ArtifactError(f"its {TS_MANIFEST} does not name the archiver")
    if found != expected:
        raise ArtifactError(f"its {TS_MANIFEST} does not fit its artifact")
