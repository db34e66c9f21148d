"""A model artifact: a folder of safetensors and one JSON manifest, every file hashed, no pickle.

    artifact.json           what it is, where it came from, and the SHA-256 of the other files
    model.safetensors       weights of the classifier
    screening.safetensors   detector heads, calibration and projection (once detectors are fitted)
    reference.safetensors   what it said of held-out images, for monitoring (with the detectors)

The digest of an artifact is the SHA-256 of its manifest, which vouches for the rest.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from torchkeep import __version__
from torchkeep.atomic_file import atomic_directory, set_aside
from torchkeep.errors import ArtifactError, SettingsError
from torchkeep.image_shape import ImageShape
from torchkeep.threat_model import Epsilon, Norm, ThreatModel

if TYPE_CHECKING:
    from torch import Tensor

ARTIFACT_SCHEMA = 1
MANIFEST = "artifact.json"
MODEL = "model.safetensors"
SCREENING = "screening.safetensors"
REFERENCE = "reference.safetensors"
FILES = frozenset({MODEL, SCREENING, REFERENCE})
MAX_MANIFEST_BYTES = 16 * 1024 * 1024

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){0,2}")

Tensors = Mapping[str, "Tensor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an artifact says of itself; mappings hold plain JSON values."""

    name: str
    version: str
    architecture: str
    options: Mapping[str, Any]
    input: ImageShape
    classes: tuple[str, ...]
    threat_model: ThreatModel | None
    train_record: Mapping[str, Any]
    metrics: Mapping[str, Any]
    screening: Mapping[str, Any] | None
    code_version: str = __version__
    reference: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ArtifactError(
                f"{self.name!r} is no model name",
                remedy="Use a letter, then up to 63 letters, digits, - or _.",
            )
        if not _VERSION.fullmatch(self.version):
            raise ArtifactError(f"{self.version!r} is no version", remedy="Use 1, 1.0 or 1.0.0.")
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ArtifactError("a model needs two or more distinct class names")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without the hashes of the files."""
        raw = asdict(self) | {"classes": list(self.classes)}
        if self.reference is None:  # so that an artifact without one is what it always was
            del raw["reference"]
        return raw

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Manifest:
        """Read what `to_json` wrote. Raises `ArtifactError` on anything else."""
        try:
            threat = raw["threat_model"]
            return cls(
                **{key: _typed(raw, key, str) for key in ("name", "version", "architecture")},
                options=_typed(raw, "options", dict),
                input=ImageShape(**_typed(raw, "input", dict)),
                classes=tuple(str(label) for label in _typed(raw, "classes", list)),
                threat_model=threat
                and ThreatModel(norm=Norm(threat["norm"]), eps=Epsilon(float(threat["eps"]))),
                train_record=_typed(raw, "train_record", dict),
                metrics=_typed(raw, "metrics", dict),
                screening=raw["screening"] and _typed(raw, "screening", dict),
                code_version=_typed(raw, "code_version", str),
                reference=_typed(raw, "reference", dict) if "reference" in raw else None,
            )
        except (KeyError, TypeError, ValueError, SettingsError) as error:
            raise ArtifactError(f"the manifest does not fit its schema: {error!r}") from error


def _typed(raw: Mapping[str, Any], key: str, kind: type) -> Any:
    if not isinstance(raw[key], kind):
        raise TypeError(f"{key} must be a {kind.__name__}")
    return raw[key]


@dataclass(frozen=True, slots=True)
class ModelArtifact:
    """An artifact on disk whose files match its manifest."""

    path: Path
    manifest: Manifest
    digest: str
    hashes: Mapping[str, str]

    @classmethod
    def load(cls, path: Path) -> ModelArtifact:
        """Read the manifest in folder `path` and verify the hash of every file it names.

        Raises `ArtifactError` that names the file and what is wrong with it.
        """
        content = _read_manifest(path)
        if len(content) > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{path / MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
        hashes, manifest = parse_manifest(path / MANIFEST, content)
        artifact = cls(path, manifest, hashlib.sha256(content).hexdigest(), hashes)
        for name in hashes:
            artifact.read_file(name)
        return artifact

    @staticmethod
    def check_target(path: Path) -> None:
        """Check that `write` may make or replace folder `path`, without changing anything.

        Raises `ArtifactError` unless it is absent, empty or an artifact, for it is replaced whole.
        """
        try:
            fault = _target_fault(path.resolve())
        except (OSError, RuntimeError) as error:
            fault = f"cannot be used: {getattr(error, 'strerror', None) or error}"
        if fault:
            raise ArtifactError(f"{path} {fault}", remedy="Name a folder that is not there yet.")

    @classmethod
    def write(
        cls, path: Path, manifest: Manifest, files: Mapping[str, Tensors | bytes]
    ) -> ModelArtifact:
        """Write an artifact whole or not at all; an existing one at `path` is replaced.

        Files are tensors to save, or bytes as they are. Raises `ArtifactError` as `check_target`
        does.
        """
        cls.check_target(path)
        contents = {name: _bytes_of(content) for name, content in files.items()}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        document = {"schema": ARTIFACT_SCHEMA, **manifest.to_json(), "files": hashes}
        contents[MANIFEST] = orjson.dumps(
            document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY
        )
        with atomic_directory(path) as scratch:
            for name, data in contents.items():
                (scratch / name).write_bytes(data)
        return cls.load(path)

    def with_screening(self, screening: Mapping[str, Any], tensors: Tensors) -> ModelArtifact:
        """Write this artifact anew, in its place, with fitted and calibrated detectors.

        A reference goes: it holds the scores of other detectors.
        """
        manifest = replace(self.manifest, screening=screening, reference=None)
        return self.write(self.path, manifest, {MODEL: self.read_file(MODEL), SCREENING: tensors})

    def with_reference(self, reference: Mapping[str, Any], content: bytes) -> ModelArtifact:
        """Write this artifact anew, in its place, with what it said of held-out images."""
        manifest = replace(self.manifest, reference=reference)
        files = {name: self.read_file(name) for name in self.hashes}
        return self.write(self.path, manifest, files | {REFERENCE: content})

    def read_file(self, name: str) -> bytes:
        """Return the bytes of one file. Raises `ArtifactError` if its hash does not match."""
        content = _read(self.path / name, f"SHA-256 {self.hashes[name][:12]}…")
        found = hashlib.sha256(content).hexdigest()
        if found != self.hashes[name]:
            raise ArtifactError(
                f"{self.path / name} was changed: SHA-256 {found[:12]}…, "
                f"expected {self.hashes[name][:12]}…",
                remedy="Train or fetch the artifact again.",
            )
        return content

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one file, on the CPU. Raises `ArtifactError` if it is damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        if name not in self.hashes:
            raise ArtifactError(
                f"{self.path} has no {name}", remedy="Run `torchkeep fit-detectors` on it."
            )
        try:
            return load(self.read_file(name))
        except SafetensorError as error:
            raise ArtifactError(f"{self.path / name} is no safetensors file: {error}") from error


def _bytes_of(content: Tensors | bytes) -> bytes:
    if isinstance(content, bytes):
        return content
    from safetensors.torch import save

    return save(dict(content))


def _read(path: Path, expected: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}; expected {expected}") from error


def _read_manifest(path: Path) -> bytes:
    try:
        return _read(path / MANIFEST, "the manifest of an artifact")
    except ArtifactError as error:
        missing = isinstance(error.__cause__, FileNotFoundError) and not path.exists()
        if missing and set_aside(path).exists():
            raise ArtifactError(
                f"{path} was being replaced when the process was killed",
                remedy=f"Rename {set_aside(path)} to it.",
            ) from error
        raise


def _target_fault(target: Path) -> str | None:
    """Return why no artifact may be written to `target`, if so."""
    parent = next(parent for parent in (*target.parents, target) if parent.exists())
    if not parent.is_dir():
        return f"cannot be made: {parent} is a file"
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"cannot be made: {parent} cannot be written"
    if not target.exists():
        return None
    if not target.is_dir():
        return "is a file"
    if target.is_mount() or target == Path.cwd():
        return "is a mount point or the current folder, which cannot be replaced"
    entries = {entry.name: entry.is_file() for entry in target.iterdir()}
    others = sorted(name for name in entries if name not in {MANIFEST, *FILES} or not entries[name])
    if others:
        return f"holds other things than an artifact, such as {others[0]}"
    return f"holds files, but no {MANIFEST}" if entries and MANIFEST not in entries else None


def parse_manifest(path: Path, content: bytes) -> tuple[dict[str, str], Manifest]:
    """Return the SHA-256 of each file and the manifest that `content` is; `path` is for messages.

    Raises `ArtifactError` that says what is wrong with it.
    """
    try:
        raw = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ArtifactError(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, dict) or raw.get("schema") != ARTIFACT_SCHEMA:
        found = raw.get("schema") if isinstance(raw, dict) else None
        raise ArtifactError(
            f"{path} has artifact schema {found!r}; this version reads {ARTIFACT_SCHEMA}"
        )
    files = raw.get("files")
    if not isinstance(files, dict) or MODEL not in files or not files.keys() <= FILES:
        raise ArtifactError(f"{path} must name {MODEL} and nothing beyond {sorted(FILES)}")
    manifest = Manifest.from_json(raw)
    if (REFERENCE in files) != (manifest.reference is not None):
        raise ArtifactError(f"{path} must have both {REFERENCE} and an entry of it, or neither")
    return {name: str(digest) for name, digest in files.items()}, manifest
