"""What is finished of an evaluation: one file a task and block, there whole or not at all.

Columns are arrays with one row an image of the block. Shapes: B images of a block, C H W an image,
S heads.

    plan.json                what is done
    images.safetensors       the test images, their labels, and guides for feature matching
    blocks/KEY.BLOCK.safetensors   what a task found on a block
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from robustness.evaluation.plan import Plan, Task
from torchkeep.atomic_file import write_atomic
from torchkeep.errors import DataError

Columns = Mapping[str, NDArray[Any]]

PLAN = "plan.json"
IMAGES = "images.safetensors"
BLOCKS = "blocks"
SECONDS = "seconds"


@dataclass(frozen=True, slots=True)
class Material:
    """The images of an evaluation: N C H W uint8 with labels N, and clean guides with labels."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    guides: NDArray[np.uint8]
    guide_labels: NDArray[np.int64]

    def digest(self) -> str:
        """Return the SHA-256 of everything."""
        arrays = (self.images, self.labels, self.guides, self.guide_labels)
        content = hashlib.sha256()
        for array in arrays:
            content.update(f"{array.shape} {array.dtype}".encode())
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()


@dataclass(frozen=True, slots=True)
class Store:
    """The folder of one evaluation."""

    folder: Path
    plan: Plan

    @classmethod
    def make(cls, folder: Path, plan: Plan, material: Material) -> Store:
        """Begin an evaluation in `folder`, or go on with the one of the same plan there."""
        arrays: dict[str, NDArray[Any]] = {
            "images": material.images,
            "labels": material.labels,
            "guides": material.guides,
            "guide_labels": material.guide_labels,
        }
        (folder / BLOCKS).mkdir(parents=True, exist_ok=True)
        write_atomic(folder / IMAGES, save({key: _whole(value) for key, value in arrays.items()}))
        write_atomic(folder / PLAN, plan.to_json())
        return cls(folder, plan)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open what `make` began. Raises `DataError` if it is damaged."""
        path = folder / PLAN
        try:
            return cls(folder, Plan.from_json(path.read_bytes()))
        except (OSError, msgspec.DecodeError) as error:
            raise DataError(path, str(error), "the plan of an evaluation") from error

    def material(self) -> Material:
        """Read the images."""
        return Material(**_read(self.folder / IMAGES))

    def path(self, task: Task, block: int) -> Path:
        """Return where the result of a task on a block lies, or will."""
        return self.folder / BLOCKS / f"{task.key}.{block}.safetensors"

    def done(self, task: Task, block: int) -> bool:
        """Whether a task is finished on a block."""
        return self.path(task, block).exists()

    def write(self, task: Task, block: int, columns: Columns, seconds: float) -> None:
        """Keep what a task found on a block, and how long that took."""
        arrays = {key: _whole(value) for key, value in columns.items()}
        content = save(arrays, metadata={SECONDS: repr(seconds)})
        write_atomic(self.path(task, block), content)

    def read_block(self, task: Task, block: int) -> Columns:
        """Read what a task found on a block. Raises `DataError` if that is damaged."""
        return _read(self.path(task, block))

    def read(self, task: Task) -> Columns:
        """Read what a task found on all images, in their order."""
        blocks = [self.read_block(task, block) for block in self.plan.blocks]
        return {key: np.concatenate([columns[key] for columns in blocks]) for key in blocks[0]}

    def seconds(self, task: Task) -> float:
        """Return the seconds that a task took on all blocks together."""
        return sum(_seconds(self.path(task, block)) for block in self.plan.blocks)


def _whole(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array in one piece: safetensors would write the bytes of a view in their order."""
    return np.ascontiguousarray(array)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        remedy = "Remove that file and run the same command again: only that block is repeated."
        raise DataError(path, str(error), "a result of an evaluation", remedy=remedy) from error


def _seconds(path: Path) -> float:
    """Read the seconds from the header alone (safetensors format: length, then JSON)."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = msgspec.json.decode(file.read(length))
    return float(header["__metadata__"][SECONDS])
