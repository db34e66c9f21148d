"""Train a network on labelled images: from a configuration to weights, without files.

`train_artifact` (training/run.py) adds data sets, evaluation, the record and the artifact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchkeep.architectures import Classifier, build
from torchkeep.data import ImageSet
from torchkeep.errors import ArtifactError, DataError
from torchkeep.image_shape import ImageShape
from training.batches import Plan, source_of
from training.config import TrainConfig
from training.distributed import World, alone
from training.held_out import HeldOut
from training.learner import Learner
from training.loop import Keeper, Loop, NoKeeper, Progress, Training
from training.run_folder import RunFolder
from training.standing import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A trained network, in evaluation mode, and how it came about."""

    model: Classifier
    training: Training


def fit(
    config: TrainConfig,
    shape: ImageShape,
    classes: int,
    train: ImageSet,
    validation: ImageSet,
    *,
    device: torch.device,
    progress: Progress,
    world: World | None = None,
    folder: RunFolder | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Fitted:
    """Train the configuration's network on `train`, watched on `validation`.

    `world` are the processes that train together (default: this one alone), `folder` where
    checkpoints are kept and gone on from, `weights` what to start from in place of random ones.
    On a CPU the same data, configuration, number of processes and threads, and build of torch give
    the same weights, be the training broken off and gone on with or not.
    """
    world = world or alone(device)
    _check_labels(train, classes)
    plan = Plan.of(config, len(train), world)
    watched = validation.subset(range(min(config.watch.images, len(validation))))
    with _deterministic(config.seed, world.device):
        model = build(config.architecture, shape, classes, config.options)
        if weights is not None:
            _start_from(model, weights)
        learner = Learner(model, config, world)
        standing = folder.resume(learner) if folder else Standing()
        keeper: Keeper = folder or NoKeeper()
        loop = Loop(
            learner=learner,
            source=source_of(train, world.device, config.execution.resident_bytes),
            plan=plan,
            watcher=HeldOut.of(config, *on_device(watched, world.device), world),
            standing=standing,
            keeper=keeper,
            progress=progress,
        )
        training = loop.run()
    return Fitted(model=learner.best_model.eval(), training=training)


def on_device(images: ImageSet, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images (N C H W in 0..1) and labels (N) on a device."""
    pixels = torch.from_numpy(images.images).to(device).float().div_(255)
    return pixels, torch.from_numpy(images.labels).to(device)


def _check_labels(train: ImageSet, classes: int) -> None:
    present = np.unique(train.labels)
    if present[0] < 0 or present[-1] >= classes:
        odd = present[-1] if present[-1] >= classes else present[0]
        raise DataError("training images", f"label {odd}", f"labels from 0 to {classes - 1}")
    if len(present) < 2:
        fault = f"all {len(train)} are of one class"
        raise DataError("training images", fault, "two classes or more")


def _start_from(model: Classifier, weights: Mapping[str, Tensor]) -> None:
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise ArtifactError(
            f"the weights to start from do not fit: {' '.join(str(error).split())[:200]}",
            remedy="Start from an artifact of the same architecture, options, and classes.",
        ) from error


@contextmanager
def _deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch and, on a CPU, ask for deterministic algorithms, for the block alone.

    On CUDA those would cost more than the result is worth: nothing is claimed there.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(device.type == "cpu", warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
