"""One order carried out by one process, alone or beside the others that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from torchkeep.artifact import ModelArtifact
from torchkeep.errors import SettingsError
from torchkeep.paths import Home
from training.distributed import World, alone, connected, place
from training.fit import Fitted
from training.loop import Progress
from training.material import Material
from training.order import Order
from training.run import Assignment, train_model, write_artifact
from training.run_folder import RunFolder
from training.train_log import log_training


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What an order comes to on this machine, checked before anything is trained."""

    order: Order
    world: World
    assignment: Assignment
    material: Material
    home: Home
    folder: RunFolder

    @classmethod
    def of(cls, order: Order, home: Home, world: World) -> Session:
        """Load and check all that is needed. Raises a `UserError` that says what does not fit."""
        config = order.config()
        parent = ModelArtifact.load(order.parent) if order.parent else None
        material = Material.load(config.data, index=order.index)
        material.require_scanned(told=order.unscanned)
        assignment = Assignment(
            dataset=material.dataset,
            splits=material.splits,
            config=config,
            version=order.version,
            path=order.out or home.artifacts / f"{config.name}-{order.version}",
            parent=parent,
            cleaned=material.cleaned,
        )
        assignment.check()
        folder = RunFolder(
            path=home.runs / f"{config.name}-{order.version}",
            identity=assignment.identity(),
            world=world,
            limit_s=None if order.max_minutes is None else 60 * order.max_minutes,
        )
        return cls(
            order=order,
            world=world,
            assignment=assignment,
            material=material,
            home=home,
            folder=folder,
        )

    def _forget_if_fresh(self) -> None:
        """Begin anew if that was ordered; processes that were started again go on all the same.

        Over several machines nobody can tell a first start from another.
        """
        if not self.order.fresh:
            return
        if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
            raise SettingsError(
                "--fresh does not go with several machines",
                remedy=f"Delete {self.folder.checkpoint} before the start.",
            )
        if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
            self.folder.clear()

    def train(self, progress: Progress) -> Fitted:
        """Train, from the checkpoint if there is one, together with the other processes."""
        self._forget_if_fresh()
        with connected(self.world), _enough_memory():
            return train_model(self.assignment, self.world, progress, self.folder)

    def finish(self, fitted: Fitted, progress: Progress) -> ModelArtifact:
        """Evaluate, write the artifact, archive its training set, log it, drop the checkpoint."""
        with _enough_memory():
            artifact = write_artifact(self.assignment, fitted, self.world, progress)
        self.material.archive(self.home, artifact)
        log_training(self.home, artifact)
        self.folder.draw(fitted.training.epochs)
        self.folder.clear()
        return artifact


def carry_out(order: Order, home: Home, progress: Progress) -> ModelArtifact | None:
    """Carry out an order beside the other processes of its world; only the leader's gives it."""
    session = Session.of(order, home, place(order.device))
    with session.folder.held():
        fitted = session.train(progress)
        return session.finish(fitted, progress) if session.world.leads else None


def carry_out_alone(order: Order, home: Home, progress: Progress) -> ModelArtifact:
    """Carry out an order in this process alone."""
    session = Session.of(order, home, alone(place(order.device).device))
    with session.folder.held():
        return session.finish(session.train(progress), progress)


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Turn a GPU that is out of memory into an error with a remedy."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SettingsError(
            "the GPU is out of memory",
            remedy="Give --accumulate 2 or more, --precision bfloat16, or a smaller --batch-size.",
        ) from error
