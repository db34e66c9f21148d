"""Trains on growing subsets, several times each, and measures every network on the test images.

Each training is the recipe's own, epochs, schedule and all; only what an epoch is differs. An epoch
on n of N labels shows √(n · N) images (`images_shown`), each label's image as often as any other's.
As many images as labels would leave small subsets undertrained, and their errors would make labels
look better than they are; as many as N would cost N / n times as much, and on MNIST they gain
nothing (measured in docs/learning-curves.md).
"""

# N training images, n labels of a subset

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import torch

from torchkeep.code_digest import code_digest
from torchkeep.data import Dataset, ImageSet, Splits
from torchkeep.errors import SettingsError
from torchkeep.image_shape import ImageShape
from training.batches import Plan
from training.config import TrainConfig
from training.distributed import alone
from training.evaluation import accuracy, evaluate
from training.fit import fit, on_device
from training.learning_curve.curve import Curve, Point
from training.learning_curve.store import PointStore
from training.learning_curve.subsets import check_sizes, growing_order
from training.loop import Progress
from training.seeds import mixed

CODE = ("robustness", "torchkeep.architectures", "torchkeep.data", "training")
"""Packages whose code a measured accuracy depends on."""

CHEAP = 5000
"""Images that an epoch may always show, labels permitting: on small data it is not worth saving."""


class Metric(StrEnum):
    """What is measured: accuracy on clean test images, or under the recipe's evaluation attack."""

    CLEAN = "clean"
    PGD = "pgd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is trained and measured: a recipe on subsets of `sizes`, `repeats` times each."""

    config: TrainConfig
    sizes: tuple[int, ...]
    repeats: int = 3
    metric: Metric = Metric.CLEAN

    def __post_init__(self) -> None:
        if self.repeats < 2:
            raise SettingsError(
                f"{self.repeats} training(s) a size do not show how much trainings differ",
                remedy="Give 2 repeats or more.",
            )


def images_shown(size: int, total: int) -> int:
    """Return how many images an epoch on `size` of `total` labels shows."""
    return max(round(math.sqrt(size * total)), min(total, CHEAP))


def measure(
    study: Study,
    dataset: Dataset,
    splits: Splits,
    *,
    device: torch.device,
    store: PointStore,
    progress: Progress,
) -> Curve:
    """Return the curve; trainings that `store` has are not done again.

    Raises `SettingsError` or `DataError`, before the first training, if the sizes do not fit.
    """
    check_sizes(study.sizes, splits.train.labels)
    points = []
    trials = list(_trials(study, splits, device))
    total, done = sum(trial.steps for trial in trials), 0
    for trial in trials:
        made_of = trial.made_of(study, dataset, splits, device)
        point = store.get(made_of)
        if point is None:
            told = _shifted(progress, done, total)
            point = _measured(trial, study, dataset, splits, device, told)
            store.put(made_of, point)
        points.append(point)
        done += trial.steps
        progress("train on growing subsets", done, total)
    return Curve.of(points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One training of a study: on `size` labels, in the order of a repeat."""

    config: TrainConfig
    size: int
    repeat: int
    shown: int
    """Images of an epoch."""
    steps: int

    def images(self, train: ImageSet) -> ImageSet:
        """Return what an epoch shows: each image of the subset as often as any other, give or take.

        A subset of another seed is another one, but for the largest, which has them all.
        """
        order = growing_order(train.labels, self.config.seed)
        return train.subset(np.resize(order[: self.size], self.shown))

    def made_of(
        self, study: Study, dataset: Dataset, splits: Splits, device: torch.device
    ) -> dict[str, Any]:
        """Return all that the measured accuracy depends on."""
        return {
            "data": dataset.digest,
            "splits": splits.record.index_sha256,
            "config": self.config.to_json(),
            "size": self.size,
            "repeat": self.repeat,
            "shown": self.shown,
            "metric": study.metric,
            "device": device.type,
            "torch": torch.__version__,
            "code": code_digest(*CODE),
        }


def _trials(study: Study, splits: Splits, device: torch.device) -> Iterator[Trial]:
    total = len(splits.train)
    for size in study.sizes:
        shown = images_shown(size, total)
        for repeat in range(study.repeats):
            config = replace(study.config, seed=mixed(study.config.seed, repeat))
            steps = Plan.of(config, shown, alone(device)).steps
            yield Trial(config=config, size=size, repeat=repeat, shown=shown, steps=steps)


def _measured(
    trial: Trial,
    study: Study,
    dataset: Dataset,
    splits: Splits,
    device: torch.device,
    progress: Progress,
) -> Point:
    channels, height, width = splits.train.shape
    fitted = fit(
        trial.config,
        ImageShape(channels=channels, height=height, width=width),
        len(dataset.classes),
        trial.images(splits.train),
        splits.validation,
        device=device,
        progress=progress,
    )
    test = on_device(splits.test, device)
    if study.metric is Metric.CLEAN:
        measured, images = accuracy(fitted.model, *test), len(splits.test)
    else:
        found = evaluate(fitted.model, *test, trial.config, _silent)
        measured, images = found.pgd_accuracy, found.pgd_images
    return Point(size=trial.size, repeat=trial.repeat, accuracy=measured, images=images)


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    return lambda step, done, _: progress("train on growing subsets", before + done, total)


def _silent(step: str, done: int, total: int) -> None:
    """Report nothing."""
