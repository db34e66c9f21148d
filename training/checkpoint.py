"""Checkpoints: all that a training needs to go on, without pickle, whole or not at all.

    state.json              where the training stands, what it is, and the SHA-256 of the others
    model.safetensors       the weights
    optimizer.safetensors   what the optimizer remembers
    averaged.safetensors    the moving average of the weights, if there is one
    best.safetensors        the best weights so far, if they are watched for

Randomness needs no file: each step seeds its own (`training/seeds.py`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from torchkeep.atomic_file import atomic_directory, settle
from torchkeep.errors import ArtifactError

CHECKPOINT_SCHEMA = 1
STATE = "state.json"
PARTS = ("model", "optimizer", "averaged", "best")

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A moment of a training: plain JSON values, and named groups of tensors."""

    state: Mapping[str, Any]
    tensors: Mapping[str, Tensors]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one before, which stays until this one is complete.

    Raises `OSError` (a full disk, say); the one before is then still there.
    """
    files = {
        f"{part}.safetensors": save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in group.items()}
        )
        for part, group in checkpoint.tensors.items()
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    state = {"schema": CHECKPOINT_SCHEMA, **checkpoint.state, "files": hashes}
    files[STATE] = orjson.dumps(state, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
    with atomic_directory(folder) as scratch:
        for name, content in files.items():
            _write_through(scratch / name, content)


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the files of the checkpoint in `folder`, each as it was written; none without one.

    Raises `ArtifactError` that names the file if it was changed or cut off.
    """
    settle(folder)  # a kill in the middle of a write may have left the one before set aside
    if not folder.exists():
        return {}
    content = _read(folder / STATE)
    hashes = _state(folder / STATE, content)["files"]
    files = {name: _read(folder / name) for name in hashes}
    for name, found in files.items():
        if hashlib.sha256(found).hexdigest() != hashes[name]:
            raise _damaged(folder / name, f"its {len(found)} bytes are not what was written")
    return files | {STATE: content}


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return files as one piece of bytes, for another process."""
    names = orjson.dumps({name: len(content) for name, content in files.items()})
    return b"\n".join([names, b"".join(files.values())])


def unpack(packed: bytes) -> dict[str, bytes]:
    """Return what `pack` was given."""
    names, _, content = packed.partition(b"\n")
    files, start = {}, 0
    for name, length in orjson.loads(names).items():
        files[name] = content[start : start + length]
        start += length
    return files


def checkpoint_of(files: Mapping[str, bytes], folder: Path) -> Checkpoint:
    """Return the checkpoint that `read_files` found in `folder`. Raises `ArtifactError`."""
    state = _state(folder / STATE, files[STATE])
    tensors = {}
    for name in state["files"]:
        try:
            tensors[name.removesuffix(".safetensors")] = load(files[name])
        except SafetensorError as error:
            raise _damaged(folder / name, f"it is no safetensors file ({error})") from error
    return Checkpoint(state=state, tensors=tensors)


def _state(path: Path, content: bytes) -> dict[str, Any]:
    try:
        state: dict[str, Any] = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _damaged(path, str(error)) from error
    known = {f"{part}.safetensors" for part in PARTS}
    files = state.get("files") if isinstance(state, dict) else None
    if not isinstance(files, dict) or not files.keys() <= known:
        raise _damaged(path, "it names no files of a checkpoint")
    if state.get("schema") != CHECKPOINT_SCHEMA:
        raise _damaged(path, f"its schema is {state.get('schema')!r}, not {CHECKPOINT_SCHEMA}")
    return state


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"{error.strerror}") from error


def _damaged(path: Path, fault: str) -> ArtifactError:
    return ArtifactError(
        f"{path} cannot be gone on from: {fault}", remedy="Begin anew with --fresh."
    )


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
