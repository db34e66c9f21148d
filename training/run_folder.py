"""The folder of a training in progress: its checkpoint, and its curves to look at.

    checkpoint/    where to go on (`training/checkpoint.py`)
    curves.svg     loss and accuracies of each epoch so far

One training at a time: the leader holds a lock on the folder, which ends with its process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchkeep.atomic_file import settle, write_atomic
from torchkeep.errors import ArtifactError, SettingsError
from training.checkpoint import (
    Checkpoint,
    checkpoint_of,
    pack,
    read_files,
    unpack,
    write_checkpoint,
)
from training.curves import training_curves
from training.distributed import World
from training.learner import Learner
from training.standing import Epoch, Standing

LOOKS_AT_CLOCK_EVERY = 20
"""Steps, where several processes train: looking means a word among them."""
DRAWS_EVERY_S = 30.0


@dataclass(slots=True, kw_only=True)
class RunFolder:
    """Keeps checkpoints of one training, told by `identity`, in `path`.

    `identity` holds what must be the same for a checkpoint to be gone on from. `limit_s` is how
    long this run may take; None: until the training ends.
    """

    path: Path
    identity: Mapping[str, Any]
    world: World
    limit_s: float | None = None
    started: float = field(default_factory=time.monotonic)
    drawn: float = field(default_factory=time.monotonic)

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def curves(self) -> Path:
        return self.path / "curves.svg"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for the block; what is empty at its end is removed.

        Raises `SettingsError` if another training holds it.
        """
        if not self.world.leads:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path, os.O_RDONLY)
        try:
            self._lock(lock)
            self._sweep()
            yield
        finally:
            with suppress(OSError):
                self.path.rmdir()
            os.close(lock)

    def _sweep(self) -> None:
        """Remove what a process that was killed in the middle of a checkpoint left."""
        settle(self.checkpoint)
        for scratch in self.path.glob(f".{self.checkpoint.name}.*"):
            shutil.rmtree(scratch, ignore_errors=True)

    def _lock(self, folder: int) -> None:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"another training runs in {self.path}",
                remedy="Wait for its end, or give this one another --name or --version.",
            ) from error

    def clear(self) -> None:
        """Forget the checkpoint: the training has ended, or is begun anew."""
        if self.world.leads:
            shutil.rmtree(self.checkpoint, ignore_errors=True)

    def resume(self, learner: Learner) -> Standing:
        """Put the checkpoint, if there is one, into `learner`; return where the training stands.

        The leader reads it and sends it to the others, which may be on machines without it.
        Raises `ArtifactError` if the checkpoint is damaged or of another training.
        """
        read = pack(read_files(self.checkpoint)) if self.world.leads else None
        files = unpack(self.world.content_from_leader(read))
        if not files:
            return Standing()
        kept = checkpoint_of(files, self.checkpoint)
        self._check(kept.state)
        try:
            learner.model.load_state_dict(dict(kept.tensors["model"]))
            learner.optimizer.load_state_dict(_nested(kept.tensors["optimizer"], learner))
            if learner.averaged is not None:
                learner.averaged.module.load_state_dict(dict(kept.tensors["averaged"]))
                learner.averaged.n_averaged.fill_(int(kept.state["standing"]["step"]))
            standing = Standing.from_json(kept.state["standing"], kept.tensors.get("best", {}))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ArtifactError(
                f"{self.checkpoint} does not fit this training: {' '.join(str(error).split())}",
                remedy="Begin anew with --fresh.",
            ) from error
        standing.resumed += 1
        return standing

    def keep(self, learner: Learner, standing: Standing) -> None:
        """Write a checkpoint, and now and then the curves, as the leader.

        Raises `OSError` (a full disk); the checkpoint before is then still there.
        """
        if not self.world.leads:
            return
        tensors: dict[str, Mapping[str, Tensor]] = {
            "model": learner.model.state_dict(),
            "optimizer": _flat(learner.optimizer),
        }
        if learner.averaged is not None:
            tensors["averaged"] = learner.averaged.module.state_dict()
        if standing.best_weights:
            tensors["best"] = standing.best_weights
        state = {"identity": self.identity, "standing": standing.to_json()}
        write_checkpoint(self.checkpoint, Checkpoint(state=state, tensors=tensors))
        if time.monotonic() - self.drawn > DRAWS_EVERY_S:
            self.draw(standing.epochs)

    def draw(self, epochs: Sequence[Epoch]) -> None:
        """Write the curves, as the leader."""
        if self.world.leads and epochs:
            content = training_curves([epoch.to_json() for epoch in epochs])
            write_atomic(self.curves, content.encode())
            self.drawn = time.monotonic()

    def time_is_up(self, standing: Standing) -> bool:
        """Say, as the leader's clock has it, whether this run has to stop."""
        looks = self.world.size == 1 or standing.step % LOOKS_AT_CLOCK_EVERY == 0
        if self.limit_s is None or not looks:
            return False
        spent = time.monotonic() - self.started
        return self.world.told_by_leader(spent) > self.limit_s

    def _check(self, state: Mapping[str, Any]) -> None:
        found = state.get("identity", {})
        for name, wanted in self.identity.items():
            if found.get(name) != wanted:
                told = f"{name} {_short(found.get(name))}, this one {name} {_short(wanted)}"
                raise ArtifactError(
                    f"the checkpoint in {self.checkpoint} is of a training with {told}",
                    remedy="Begin anew with `torchkeep train --fresh`, or use another --name.",
                )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 40 else f"{text[:16]}…"


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what an optimizer remembers of each weight as one flat group of tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def _nested(flat: Mapping[str, Tensor], learner: Learner) -> dict[str, Any]:
    """Return what `_flat` made as an optimizer's state; rates and such are the configuration's."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in flat.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": learner.optimizer.state_dict()["param_groups"]}
