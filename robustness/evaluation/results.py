"""The finished results of an evaluation, read once: what each task found of all N images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.evaluation.plan import CLEAN, Kind, Plan, Purpose, Task
from robustness.evaluation.store import Columns, Material, Store

Mask = NDArray[np.bool_]
IMAGES = "images"

STRIKES = frozenset({Kind.ATTACK, Kind.ADAPTIVE})
"""Kinds of tasks that move images within a threat."""


@dataclass(frozen=True)
class Results:
    """Columns of each task, without the images: those are read when they are needed."""

    store: Store

    @cached_property
    def material(self) -> Material:
        """The images of the evaluation."""
        return self.store.material()

    @property
    def plan(self) -> Plan:
        """The plan that was carried out."""
        return self.store.plan

    @cached_property
    def _columns(self) -> dict[str, Columns]:
        return {task.key: _without_images(self.store.read(task)) for task in self.plan.tasks}

    def of(self, key: str) -> Columns:
        """Return what the task of that key found."""
        return self._columns[key]

    @property
    def clean(self) -> Columns:
        """What was said of the images as they are."""
        return self.of(CLEAN)

    def images(self, task: Task, place: int) -> NDArray[np.float32]:
        """Return what a task made of one image: C H W."""
        block, row = divmod(place, self.plan.block)
        made: NDArray[np.float32] = self.store.read_block(task, block)[IMAGES][row]
        return made

    def strikes(self, *, threat: str | None = None, purpose: Purpose | None = None) -> list[Task]:
        """Return the attacks, of one threat or purpose if so asked, in the order of the plan."""
        return [
            task
            for task in self.plan.tasks
            if task.kind in STRIKES
            and threat in (None, task.threat)
            and purpose in (None, task.purpose)
        ]

    def strikes_within(self, threat: str) -> list[Task]:
        """Return the attacks whose threat lies inside another: in its norm, no further out."""
        norm, size = threat.split()
        return [
            task
            for task in self.strikes()
            if task.threat.split()[0] == norm and float(task.threat.split()[1]) <= float(size)
        ]

    def of_kind(self, kind: Kind) -> list[Task]:
        """Return the tasks of a kind."""
        return [task for task in self.plan.tasks if task.kind is kind]

    def turned(self, tasks: Iterable[Task]) -> Mask:
        """Return which images (N) any of the tasks turned."""
        return self._any(wrong(self.of(task.key)) for task in tasks)

    def won(self, tasks: Iterable[Task]) -> Mask:
        """Return which images (N) any of the tasks turned without being flagged."""
        return self._any(
            wrong(self.of(task.key)) & ~self.of(task.key)["suspicious"] for task in tasks
        )

    def _any(self, masks: Iterator[Mask]) -> Mask:
        found = np.zeros(self.plan.n, np.bool_)
        for mask in masks:
            found |= mask
        return found


def wrong(columns: Columns) -> Mask:
    """Return which images (N) were attacked and are then not given their label."""
    mask: Mask = columns["attacked"] & ~columns["right"]
    return mask


def _without_images(columns: Columns) -> dict[str, NDArray[Any]]:
    return {name: values for name, values in columns.items() if name != IMAGES}
