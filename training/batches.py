"""Which images each process sees at each step, and how they reach the device.

The order of an epoch depends on seed and epoch alone, so the images of a step are the same however
many processes share them. Shapes: B this process's part of a batch, C H W an image.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchkeep.data import ImageSet
from torchkeep.data.shuffle import shuffled
from torchkeep.errors import SettingsError
from training.config import TrainConfig
from training.distributed import World
from training.seeds import mixed

Indices = NDArray[np.int64]
Batch = tuple[Tensor, Tensor]
"""Images (B C H W, uint8) and labels (B), on the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many steps a training takes, and which images belong to each.

    What does not fill a batch at the end of an epoch is left out of that epoch.
    """

    images: int
    batch: int
    epochs: int
    seed: int
    world: World

    @classmethod
    def of(cls, config: TrainConfig, images: int, world: World) -> Plan:
        """Return the plan of a training. Raises `SettingsError` if the batch cannot be shared."""
        pieces = world.size * config.execution.accumulate
        batch = min(config.batch_size, images)
        if config.batch_size > images:
            batch -= batch % pieces
        if not batch or batch % pieces:
            raise SettingsError(
                f"a batch of {config.batch_size} from {images} images does not divide among "
                f"{world.size} process(es) in {config.execution.accumulate} piece(s) each",
                remedy=f"Give a batch size that is a multiple of {pieces}, or fewer processes.",
            )
        return cls(images=images, batch=batch, epochs=config.epochs, seed=config.seed, world=world)

    @property
    def epoch_steps(self) -> int:
        return self.images // self.batch

    @property
    def steps(self) -> int:
        return self.epochs * self.epoch_steps

    def epoch(self, number: int) -> list[Indices]:
        """Return this process's images of each step of an epoch (from 1)."""
        order = shuffled(self.images, mixed(self.seed, number))
        whole = order[: self.epoch_steps * self.batch].reshape(self.epoch_steps, self.batch)
        return list(whole[:, self.world.share(self.batch)])


class Source(Protocol):
    """Where batches come from."""

    def gather(self, indices: Indices) -> Batch:
        """Return the images and labels at `indices` on the device."""


class ResidentSource:
    """All images on the device: a step costs one gather there."""

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        self.images = torch.from_numpy(images.images).to(device)
        self.labels = torch.from_numpy(images.labels).to(device)

    def gather(self, indices: Indices) -> Batch:
        chosen = _sent(torch.from_numpy(indices), self.images.device)
        return self.images[chosen], self.labels[chosen]


class HostSource:
    """Images in the host's memory; each batch is copied to the device, page-locked for a GPU."""

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        self.images = torch.from_numpy(images.images)
        self.labels = torch.from_numpy(images.labels)
        self.device = device

    def gather(self, indices: Indices) -> Batch:
        chosen = torch.from_numpy(indices)
        return _sent(self.images[chosen], self.device), _sent(self.labels[chosen], self.device)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on `device`; a GPU fetches it while the CPU goes on."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def source_of(images: ImageSet, device: torch.device, resident_bytes: int) -> Source:
    """Return the source that fits: on the device as a whole if there is room for it."""
    if images.images.nbytes <= resident_bytes:
        return ResidentSource(images, device)
    return HostSource(images, device)


@dataclass(slots=True)
class Waiting:
    """Seconds that the loop has waited for batches."""

    seconds: float = field(default=0.0)


def prefetched(source: Source, batches: list[Indices], waiting: Waiting) -> Iterator[Batch]:
    """Yield the batches in order, the next one gathered by a thread while one is learnt."""
    if not batches:
        return
    with ThreadPoolExecutor(1, "batches") as thread:
        coming = [thread.submit(source.gather, indices) for indices in batches[:1]]
        for indices in [*batches[1:], None]:
            started = time.perf_counter()
            batch = coming.pop().result()
            waiting.seconds += time.perf_counter() - started
            if indices is not None:
                coming.append(thread.submit(source.gather, indices))
            yield batch
