"""A network that learns: one optimizer step, shared among processes, in pieces, in any precision.

Shapes: B this process's part of a batch, C H W an image.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from torchkeep.architectures import Classifier
from torchkeep.threat_model import ThreatModel
from training.batches import Batch
from training.config import Optimisation, Optimizer, Precision, TrainConfig
from training.distributed import World
from training.objectives import Moment, Objective
from training.schedule import triangular_rate
from training.seeds import mixed
from training.weight_perturbation import perturbed

Prepared = tuple[Tensor, ...]


class _LossOf(nn.Module):
    """The loss of a batch as a module, so that DDP meets a step's forward passes as one."""

    def __init__(self, model: Classifier, objective: Objective, threat: ThreatModel) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.threat = threat

    def forward(self, prepared: Prepared, labels: Tensor, done: float) -> Tensor:
        return self.objective.loss(self.model, prepared, labels, self.threat, done)


class Learner:
    """The network, its optimizer, its moving average, and the step that moves them."""

    def __init__(self, model: Classifier, config: TrainConfig, world: World) -> None:
        self.config = config
        self.world = world
        self.model = model.to(world.device)
        if config.execution.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = _optimizer(self.model, config.optimisation)
        decay = config.optimisation.averaging
        self.averaged = _averaged(self.model, decay) if decay else None
        if config.execution.compile:
            self.model.compile()
        loss = _LossOf(self.model, config.objective, config.threat_model)
        # Buffers are shared once a step by hand: the attack needs them before DDP would.
        self.loss: nn.Module = (
            DistributedDataParallel(loss, forward_sync_buffers=False) if world.size > 1 else loss
        )

    @property
    def best_model(self) -> Classifier:
        """The network to measure and keep: the moving average if there is one."""
        if self.averaged is None:
            return self.model
        return cast(Classifier, self.averaged.module)

    def step(self, batch: Batch, number: int, steps: int, extra_steps: int) -> Tensor:
        """Learn this process's part of a batch (step `number` of `steps`, from 1); return its loss.

        The loss is a tensor on the device, so that nothing waits for it.
        """
        self.model.train()
        self.world.share_statistics(self.model)
        rate = triangular_rate(
            number,
            steps + 1,
            self.config.optimisation.peak_learning_rate,
            self.config.optimisation.peak_at,
        )
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        pieces = self.config.execution.accumulate
        loss = torch.zeros((), device=self.world.device)
        parts = zip(*(tensor.chunk(pieces) for tensor in batch), strict=True)
        for piece, (images, labels) in enumerate(parts, start=1):
            seed = mixed(self.config.seed, number, self.world.rank, piece)
            torch.manual_seed(seed)  # for layers that draw, such as dropout
            generator = torch.Generator(self.world.device).manual_seed(seed)
            moment = Moment(done=number / steps, generator=generator, extra_steps=extra_steps)
            with nullcontext() if piece == pieces else self._unshared():
                loss += self._learn(images, labels, moment) / pieces
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        return loss

    def _learn(self, images: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        """Add the gradients of one piece (uint8 B C H W) to the weights'; return its loss."""
        config = self.config
        pixels = images.float().div_(255)
        pixels = config.augmentation(pixels, moment.generator)
        if config.execution.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            prepared = config.objective.prepare(
                self.model, pixels, labels, config.threat_model, moment
            )
        with self._moved_weights(prepared, labels, moment.done):
            with self._autocast():
                loss: Tensor = self.loss(prepared, labels, moment.done)
            (loss / config.execution.accumulate).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _moved_weights(
        self, prepared: Prepared, labels: Tensor, done: float
    ) -> AbstractContextManager[None]:
        optimisation = self.config.optimisation
        if not optimisation.weight_perturbation or done <= optimisation.perturbed_from:
            return nullcontext()

        def loss() -> Tensor:
            with self._autocast():
                return self.config.objective.loss(
                    self.model, prepared, labels, self.config.threat_model, done
                )

        return perturbed(self.model, loss, optimisation.weight_perturbation, self.world)

    def _autocast(self) -> torch.autocast:
        wanted = self.config.execution.precision is Precision.BFLOAT16
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=wanted)

    def _unshared(self) -> AbstractContextManager[Any]:
        """Keep gradients to this process until the last piece of a step."""
        if isinstance(self.loss, DistributedDataParallel):
            return self.loss.no_sync()
        return nullcontext()


def _averaged(model: nn.Module, decay: float) -> AveragedModel:
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)


def _optimizer(model: nn.Module, config: Optimisation) -> torch.optim.Optimizer:
    if config.optimizer is Optimizer.ADAM:
        return torch.optim.Adam(
            model.parameters(), config.peak_learning_rate, weight_decay=config.weight_decay
        )
    return torch.optim.SGD(
        model.parameters(),
        config.peak_learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
    )
