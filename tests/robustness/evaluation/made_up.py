"""Finished evaluations made by hand, so that every figure of them is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.evaluation.plan import CLEAN, Kind, Plan, Task
from robustness.evaluation.results import Results
from robustness.evaluation.store import Material, Store
from torchkeep.threat_model import Norm

N = 40


def plan_of(tasks: Sequence[Task], *, n: int = N, block: int = 16) -> Plan:
    return Plan(
        artifact_digest="a" * 64,
        dataset_digest="d" * 64,
        source_digest=None,
        n=n,
        first=0,
        seed=0,
        block=block,
        device="cpu",
        code="c",
        material="m",
        tasks=tuple(tasks),
    )


@dataclass
class MadeUp:
    """Masks by task: which images survive, which are flagged; all others follow."""

    survive: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    flagged: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    scores: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def results(self, tasks: Sequence[Task], folder: Path, **extra: NDArray[Any]) -> Results:
        clean = Task(key=CLEAN, kind=Kind.CLEAN, name=CLEAN, title=CLEAN)
        plan = plan_of([clean, *tasks])
        images = np.zeros((plan.n, 1, 4, 4), np.uint8)
        labels = np.zeros(plan.n, np.int64)
        store = Store.make(folder, plan, Material(images, labels, images[:0], labels[:0]))
        for task in plan.tasks:
            columns = self._columns(task, plan.n)
            columns |= extra if task.kind is Kind.SUSPICION else {}
            for block in plan.blocks:
                part = {name: values[plan.places(block)] for name, values in columns.items()}
                store.write(task, block, part, seconds=1.0)
        return Results(store)

    def _columns(self, task: Task, n: int) -> dict[str, NDArray[Any]]:
        right = self.survive.get(task.key, np.ones(n, np.bool_))
        attacked = self.survive.get(CLEAN, np.ones(n, np.bool_))
        scores = self.scores.get(task.key, np.zeros(n, np.float32))
        columns: dict[str, NDArray[Any]] = {
            "predicted": np.where(right, 0, 1),
            "right": right,
            "suspicious": self.flagged.get(task.key, np.zeros(n, np.bool_)),
            "score": scores,
            "head_p": np.exp(-scores)[:, None].astype(np.float32),
        }
        if task.kind in (Kind.ATTACK, Kind.ADAPTIVE):
            columns |= {"attacked": attacked, "images": np.zeros((n, 1, 4, 4), np.float32)}
            columns |= {str(norm): np.zeros(n, np.float32) for norm in Norm}
        return columns


def first(count: int, n: int = N) -> NDArray[np.bool_]:
    """Return a mask of the first `count` of n."""
    return np.arange(n) < count
