"""The record that every training leaves: data, numbers, and what came of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchkeep import __version__
from torchkeep.data import Dataset, ImageSet, Splits
from torchkeep.schema import HISTOGRAM_BINS, SCHEMA_VERSION, FeatureSummary, TrainRecord
from training.config import TrainConfig
from training.evaluation import Evaluation
from training.loop import Training


def train_record(
    dataset: Dataset,
    splits: Splits,
    config: TrainConfig,
    training: Training,
    evaluation: Evaluation,
    *,
    version: str,
    parent_version: str | None,
    world_size: int,
    device: str,
    cleaned: Mapping[str, object] | None = None,
) -> TrainRecord:
    """Return the record of one training."""
    return TrainRecord(
        schema=SCHEMA_VERSION,
        kind="training",
        timestamp_ns=time.time_ns(),
        model=config.name,
        model_version=version,
        parent_version=parent_version,
        recipe=config.recipe,
        config=config.to_json(),
        dataset=describe(dataset, splits) | ({"cleaned": dict(cleaned)} if cleaned else {}),
        rows=len(splits.train),
        features=summarise(splits.train),
        targets=count_targets(dataset.classes, splits.train),
        epochs=[epoch.to_json() for epoch in training.epochs],
        steps=training.steps,
        collapsed_in=list(training.collapsed_in),
        world_size=world_size,
        resumed=training.resumed,
        metrics=evaluation.to_json(),
        runtime_s=round(training.runtime_s, 3),
        images_per_s=round(training.images_per_s, 1),
        loading_share=round(training.loading_share, 4),
        device=device,
        torch_version=torch.__version__,
        code_version=__version__,
    )


def describe(dataset: Dataset, splits: Splits) -> dict[str, Any]:
    """Return what identifies the data and its splits."""
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "source": dataset.source,
        "splits": splits.record.to_json(),
    }


def count_targets(classes: tuple[str, ...], images: ImageSet) -> dict[str, int]:
    """Return how many images there are of each class."""
    counts = np.bincount(images.labels, minlength=len(classes)).tolist()
    return dict(zip(classes, counts, strict=True))


def summarise(images: ImageSet) -> FeatureSummary:
    """Return moments and histogram of the pixels."""
    pixels = images.images
    counts = np.stack(
        [np.bincount(channel.ravel(), minlength=256) for channel in _channels(pixels)]
    )
    levels = np.arange(256) / 255
    total = counts.sum(1)
    mean = counts @ levels / total
    return FeatureSummary(
        shape=list(pixels.shape[1:]),
        dtype=str(pixels.dtype),
        mean=mean.tolist(),
        std=np.sqrt(counts @ levels**2 / total - mean**2).tolist(),
        histogram=counts.sum(0).reshape(HISTOGRAM_BINS, -1).sum(1).tolist(),
    )


def _channels(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    return (pixels[:, channel] for channel in range(pixels.shape[1]))
