"""One training from data to artifact."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchkeep import __version__
from torchkeep.architectures import build
from torchkeep.artifact import MODEL, Manifest, ModelArtifact
from torchkeep.data import Dataset, ImageSet, Splits
from torchkeep.image_shape import ImageShape
from torchkeep.schema import HISTOGRAM_BINS, SCHEMA_VERSION, FeatureSummary, TrainRecord
from training.config import TrainConfig
from training.evaluation import Evaluation, evaluate
from training.loop import Progress, Training, deterministic, overfitting_probe, train


def train_artifact(
    dataset: Dataset,
    splits: Splits,
    config: TrainConfig,
    path: Path,
    *,
    device: torch.device,
    progress: Progress,
    version: str = "1.0",
) -> ModelArtifact:
    """Train, evaluate and write an artifact (still without detectors) to `path`.

    On a CPU the same data, configuration, thread count and build of torch give the same weights.
    What cannot be written (a wrong name, a folder in use) is refused before the training.
    """
    channels, height, width = splits.train.images.shape[1:]
    shape = ImageShape(channels=channels, height=height, width=width)
    manifest = Manifest(
        name=config.name,
        version=version,
        architecture=config.architecture,
        options=config.options,
        input=shape,
        classes=dataset.classes,
        threat_model=config.threat_model,
        train_record={},
        metrics={},
        screening=None,
    )
    ModelArtifact.check_target(path)
    images, labels = _on_device(splits.train, device)
    held_images, held_labels = _on_device(splits.validation, device)
    started = time.monotonic()
    with deterministic(config.seed) as generator:
        model = build(config.architecture, shape, len(dataset.classes), config.options).to(device)
        probe = overfitting_probe(config, held_images, held_labels)
        training = train(model, images, labels, probe, config, generator, progress)
        runtime = time.monotonic() - started
        evaluation = evaluate(model, *_on_device(splits.test, device), config, progress)
    record = _record(dataset, splits, config, training, evaluation, version, device, runtime)
    manifest = replace(manifest, train_record=dict(record), metrics=evaluation.to_json())
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    return ModelArtifact.write(path, manifest, {MODEL: weights})


def _on_device(images: ImageSet, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.from_numpy(images.images).to(device).float().div_(255)
    return pixels, torch.from_numpy(images.labels).to(device)


def _record(
    dataset: Dataset,
    splits: Splits,
    config: TrainConfig,
    training: Training,
    evaluation: Evaluation,
    version: str,
    device: torch.device,
    runtime: float,
) -> TrainRecord:
    return TrainRecord(
        schema=SCHEMA_VERSION,
        kind="training",
        timestamp_ns=time.time_ns(),
        model=config.name,
        model_version=version,
        parent_version=None,
        recipe=config.recipe,
        config=asdict(config),
        dataset=_describe(dataset, splits),
        rows=len(splits.train),
        features=_summarise(splits.train),
        targets=_count(dataset.classes, splits.train),
        epochs=[asdict(epoch) for epoch in training.epochs],
        steps=training.steps,
        collapsed_in=list(training.collapsed_in),
        world_size=1,
        metrics=evaluation.to_json(),
        runtime_s=round(runtime, 3),
        device=str(device),
        torch_version=torch.__version__,
        code_version=__version__,
    )


def _describe(dataset: Dataset, splits: Splits) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "source": dataset.source,
        "splits": splits.record.to_json(),
    }


def _count(classes: tuple[str, ...], images: ImageSet) -> dict[str, int]:
    counts = np.bincount(images.labels, minlength=len(classes)).tolist()
    return dict(zip(classes, counts, strict=True))


def _summarise(images: ImageSet) -> FeatureSummary:
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
