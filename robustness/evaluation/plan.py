"""What an evaluation will do: tasks, each run block by block over the same test images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import msgspec

from torchkeep.errors import SettingsError

PLAN_SCHEMA = 1
CLEAN = "clean"
"""Key of the task that every other one leans on."""


class Kind(StrEnum):
    """What a task does with a block of images."""

    CLEAN = "clean"
    ATTACK = "attack"  # knows the network, or less
    ADAPTIVE = "adaptive"  # knows the detectors, too
    CORRUPTION = "corruption"
    DEFENCE = "defence"  # a preprocessing defence, attacked through itself
    CERTIFICATE = "certificate"
    SUSPICION = "suspicion"  # looks for what makes attacks fail without making the model robust


class Purpose(StrEnum):
    """Why a task is run."""

    RESULT = "result"  # a row of the report
    CURVE = "curve"  # a point of a security curve
    CHECK = "check"  # more steps, more restarts: material of a check


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of work on each block; `key` names it in files.

    An attack is run on images that the network gets right, less those that a task named in `after`
    has turned. It may begin where the attacks named in `starts` ended. `options` replace fields of
    the attack; `images` limits it to the first so many.
    """

    key: str
    kind: Kind
    name: str
    title: str
    threat: str = ""
    effort: str = "standard"
    purpose: Purpose = Purpose.RESULT
    options: Mapping[str, int | float | str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    images: int | None = None

    @property
    def needs(self) -> frozenset[str]:
        """Keys of the tasks whose result on a block this one reads."""
        return frozenset({*self.after, *self.starts, CLEAN}) - {self.key}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole evaluation; everything that its per-image results depend on, but the machine."""

    schema: int = PLAN_SCHEMA
    artifact_digest: str
    dataset_digest: str
    source_digest: str | None
    n: int
    first: int
    seed: int
    block: int
    device: str
    code: str
    """Digest of the code that attacks and observes, and the version of torch."""
    material: str
    """Digest of images, labels and guides."""
    tasks: tuple[Task, ...]

    def __post_init__(self) -> None:
        if self.n < 1 or self.first < 0 or self.block < 1:
            raise SettingsError(
                f"{self.n} images from {self.first}, {self.block} a block",
                remedy="Give 1 or more, from 0, and 1 or more.",
            )

    @property
    def blocks(self) -> range:
        """The numbers of the blocks."""
        return range(-(-self.n // self.block))

    def places(self, block: int) -> slice:
        """Return which of the n images a block holds."""
        return slice(block * self.block, min(self.n, (block + 1) * self.block))

    def images_of(self, task: Task, block: int) -> int:
        """Return how many images of a block a task is limited to."""
        limit = self.n if task.images is None else min(self.n, task.images)
        return max(0, min(self.block, limit - block * self.block))

    @cached_property
    def by_key(self) -> Mapping[str, Task]:
        """The tasks by key."""
        return {task.key: task for task in self.tasks}

    def seed_of(self, task: Task, block: int) -> int:
        """Return the seed of a task on a block: the same whoever runs it, and when."""
        text = f"{self.seed}:{task.key}:{self.first}:{block}"
        seed: int = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        return seed

    def digest(self) -> str:
        """Return the SHA-256 of the plan."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def to_json(self) -> bytes:
        """Return the plan as JSON bytes."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, content: bytes) -> Plan:
        """Read what `to_json` wrote. Raises `msgspec.DecodeError` on anything else."""
        return msgspec.json.decode(content, type=cls)
