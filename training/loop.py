"""The training loop: seeded, bounded by steps, watched, and able to go on where it was."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from torchkeep.errors import TrainingError, TrainingPausedError
from training.batches import Plan, Source, Waiting, prefetched
from training.config import TrainConfig, WatchKind
from training.held_out import DECIDES, Watcher
from training.learner import Learner
from training.overfitting_probe import collapsed
from training.standing import Epoch, Standing

Progress = Callable[[str, int, int], None]
"""Called with a step's name, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What the loop leaves beside the weights in the model.

    `loading_share` is the share of the time in which the loop waited for images.
    """

    epochs: tuple[Epoch, ...]
    steps: int
    collapsed_in: tuple[int, ...]
    images_per_s: float
    loading_share: float
    runtime_s: float
    resumed: int


class Keeper(Protocol):
    """Keeps checkpoints, and knows when the time of this run is up."""

    def keep(self, learner: Learner, standing: Standing) -> None:
        """Keep where the training stands, durably; called in every process."""

    def time_is_up(self, standing: Standing) -> bool:
        """Say, alike in every process, whether this run has to stop."""


class NoKeeper:
    """Keeps nothing and never stops."""

    def keep(self, learner: Learner, standing: Standing) -> None:
        """Do nothing."""

    def time_is_up(self, standing: Standing) -> bool:
        """Say no."""
        return False


@dataclass(slots=True, kw_only=True)
class Loop:
    """One training, from where it stands to its end."""

    learner: Learner
    source: Source
    plan: Plan
    watcher: Watcher
    standing: Standing
    keeper: Keeper
    progress: Progress

    @property
    def config(self) -> TrainConfig:
        return self.learner.config

    def run(self) -> Training:
        """Train to the end.

        After a collapse the best weights so far, if there are any, are put back, and training goes
        on against one attack step more. Raises `TrainingError` in every process if the loss is no
        longer finite or if no epoch was without a collapse, `TrainingPausedError` if time is up.
        """
        standing, plan = self.standing, self.plan
        while standing.step < plan.steps:
            self._epoch(standing.step // plan.epoch_steps + 1)
        if self.config.watch.kind is WatchKind.COLLAPSE and standing.best < 0:
            raise TrainingError(
                "the network overfitted catastrophically in every epoch",
                remedy="Give another --seed or a smaller --eps, with --fresh; or another recipe.",
            )
        if self.config.watch.keep_best:
            self._restore_best()
        seconds = max(standing.seconds, 1e-9)
        return Training(
            epochs=tuple(standing.epochs),
            steps=standing.step,
            collapsed_in=tuple(standing.collapsed_in),
            images_per_s=plan.steps * plan.batch / seconds,
            loading_share=standing.waited / seconds,
            runtime_s=standing.seconds,
            resumed=standing.resumed,
        )

    def _epoch(self, number: int) -> None:
        """Learn what is left of an epoch, then measure and keep."""
        standing, plan, device = self.standing, self.plan, self.learner.world.device
        before, waiting = (standing.seconds, standing.waited), Waiting()
        extra, started = len(standing.collapsed_in), time.monotonic()
        total = torch.tensor(standing.epoch_loss, dtype=torch.float64, device=device)
        batches = plan.epoch(number)[standing.step % plan.epoch_steps :]
        for batch in prefetched(self.source, batches, waiting):
            total += self.learner.step(batch, standing.step + 1, plan.steps, extra)
            standing.step += 1
            standing.seconds = before[0] + time.monotonic() - started
            standing.waited = before[1] + waiting.seconds
            self.progress("train", standing.step, plan.steps)
            if standing.step % plan.epoch_steps:
                total = self._between(total, number)
        standing.epoch_loss = self._finite(total, number)
        standing.seconds = before[0] + time.monotonic() - started  # now the GPU has ended, too
        self._close(number, extra)
        self.keeper.keep(self.learner, standing)
        if standing.step < plan.steps and self.keeper.time_is_up(standing):
            raise _paused(standing, plan)

    def _between(self, total: Tensor, number: int) -> Tensor:
        """Keep a checkpoint in the middle of an epoch if one is due; return its loss so far."""
        standing = self.standing
        up = self.keeper.time_is_up(standing)
        if up or standing.step % self.config.execution.checkpoint_steps == 0:
            standing.epoch_loss = self._finite(total, number)
            self.keeper.keep(self.learner, standing)
            total = torch.full_like(total, standing.epoch_loss)
        if up:
            raise _paused(standing, self.plan)
        return total

    def _finite(self, total: Tensor, number: int) -> float:
        """Return the mean over the processes of the losses' sum, once it and the weights are sane.

        Called before anything is kept, so that what is kept is always good.
        """
        norms = [weight.detach().norm() for weight in self.learner.model.parameters()]
        loss = self.learner.world.mean(total)
        if not torch.isfinite(loss + torch.stack(norms).sum()):
            raise TrainingError(
                f"the loss is not finite in epoch {number}, by step {self.standing.step}",
                remedy="Lower the learning rate, or look for broken images.",
            )
        return loss.item()

    def _close(self, number: int, extra: int) -> None:
        """Measure an epoch, note it, and remember or put back the best weights."""
        standing, watch = self.standing, self.config.watch
        for network in (self.learner.model, self.learner.best_model):
            self.learner.world.share_statistics(network)
        accuracies = self.watcher(self.learner.best_model)
        loss = standing.epoch_loss / self.plan.epoch_steps
        attack_steps = self.config.objective.attack_steps(extra)
        standing.epochs.append(Epoch(number, loss, attack_steps, accuracies))
        standing.epoch_loss = 0.0
        guards = watch.kind is WatchKind.COLLAPSE
        if guards and collapsed(accuracies, standing.best, watch):
            if self._is_warm(number):
                standing.collapsed_in.append(number)
                self._restore_best()
                self.learner.optimizer.state.clear()
        elif accuracies[DECIDES[watch.kind]] >= standing.best and (guards or watch.keep_best):
            standing.best = accuracies[DECIDES[watch.kind]]
            standing.best_weights = copy.deepcopy(self.learner.best_model.state_dict())

    def _is_warm(self, number: int) -> bool:
        return number >= self.config.objective.warm_from() * self.config.epochs

    def _restore_best(self) -> None:
        """Put the best weights back; without any, the network stays as it is."""
        if self.standing.best_weights:
            self.learner.model.load_state_dict(self.standing.best_weights)
            self.learner.best_model.load_state_dict(self.standing.best_weights)


def _paused(standing: Standing, plan: Plan) -> TrainingPausedError:
    return TrainingPausedError(
        f"time is up at step {standing.step} of {plan.steps}; a checkpoint is kept",
        remedy="Run the same command again: it goes on from there.",
    )
