"""The reference as a file of the artifact: arrays in safetensors, the rest in the manifest.

It is read without torch, from the folder of an artifact or from a packed archive, and believed only
if its hash is the manifest's and every array is what it should be.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path
from typing import Any

from monitoring.reference import Reference
from monitoring.reference_arrays import UnfitError, from_arrays, to_arrays
from torchkeep.artifact import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    REFERENCE,
    Manifest,
    ModelArtifact,
    parse_manifest,
)
from torchkeep.errors import ArtifactError

REFERENCE_SCHEMA = 1
MAX_REFERENCE_BYTES = 256 * 1024 * 1024
"""Far above what any reference has: one of 1,000 classes has some 5 MB."""

_AGAIN = "Run `torchkeep fit-detectors` on the artifact again."


class NoReferenceError(ArtifactError):
    """An artifact without a reference: it was made before there was one, or of too many classes."""


def load_reference(path: Path) -> Reference:
    """Return the reference of an artifact, a folder or a packed `.mar`.

    Raises `NoReferenceError` if it has none, and `ArtifactError` if it is damaged.
    """
    if path.is_dir():
        artifact = ModelArtifact.load(path)
        if artifact.manifest.reference is None:
            raise _no_reference(path)
        content = artifact.read_file(REFERENCE)
        return parse_reference(content, artifact.manifest, artifact.digest, path / REFERENCE)
    try:
        return _from_archive(path)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}; expected an artifact") from error
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error) as error:
        raise ArtifactError(f"{path} is no archive of an artifact: {error}") from error


def reference_file(reference: Reference, *, split: str) -> tuple[dict[str, Any], bytes]:
    """Return the manifest's entry and the file's bytes; `split` says which images it is of."""
    from safetensors.numpy import save

    entry = {
        "schema": REFERENCE_SCHEMA,
        "split": split,
        "images": reference.images,
        "feature_names": list(reference.feature_names),
    }
    return entry, save(to_arrays(reference))


def parse_reference(content: bytes, manifest: Manifest, digest: str, place: Path) -> Reference:
    """Return what `reference_file` was given; `digest` is that of the artifact it came with.

    Raises `ArtifactError` that names `place` and what is wrong there.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    entry = manifest.reference or {}
    if entry.get("schema") != REFERENCE_SCHEMA:
        raise ArtifactError(
            f"{place} has schema {entry.get('schema')!r}; this version reads {REFERENCE_SCHEMA}",
            remedy=_AGAIN,
        )
    try:
        arrays = load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactError(f"{place} is no safetensors file: {error!r}", remedy=_AGAIN) from error
    try:
        return from_arrays(
            arrays,
            model=manifest.name,
            version=manifest.version,
            artifact_digest=digest,
            classes=manifest.classes,
            images=entry.get("images"),
            feature_names=entry.get("feature_names"),
        )
    except UnfitError as error:
        raise ArtifactError(f"{place} does not fit: {error}", remedy=_AGAIN) from error


def _from_archive(path: Path) -> Reference:
    with zipfile.ZipFile(path) as archive:
        content = _member(archive, path, MANIFEST, MAX_MANIFEST_BYTES)
        hashes, manifest = parse_manifest(path / MANIFEST, content)
        if manifest.reference is None:
            raise _no_reference(path)
        arrays = _member(archive, path, REFERENCE, MAX_REFERENCE_BYTES)
    if hashlib.sha256(arrays).hexdigest() != hashes[REFERENCE]:
        raise ArtifactError(f"{path / REFERENCE} was changed", remedy="Pack the artifact again.")
    return parse_reference(arrays, manifest, hashlib.sha256(content).hexdigest(), path / REFERENCE)


def _member(archive: zipfile.ZipFile, path: Path, name: str, limit: int) -> bytes:
    """Return a member that is stored as it is, as archives of ours are, and within its limit."""
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise ArtifactError(f"{path} has no {name}", remedy="Pack the artifact again.") from error
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
        raise ArtifactError(f"{path / name} is compressed or larger than {limit} bytes")
    return archive.read(info)


def _no_reference(path: Path) -> NoReferenceError:
    return NoReferenceError(f"{path} has no reference to hold the log against", remedy=_AGAIN)
