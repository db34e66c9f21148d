"""From a network that was trained elsewhere to an artifact like any other.

weights → network, cut and proved → evaluate → fit and calibrate detectors → write
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from robustness.calibration import allowed_exceedances, clopper_pearson_upper
from robustness.fitting import BATCH, DetectorConfig, Progress, fit_detectors
from robustness.screened_model import load_screened_model
from torchkeep import __version__
from torchkeep.architectures import Classifier
from torchkeep.architectures.foreign import trusting
from torchkeep.artifact import MODEL, Manifest, ModelArtifact
from torchkeep.atomic_file import sha256_file
from torchkeep.data import Dataset, ImageSet, Splits
from torchkeep.image_shape import ImageShape
from torchkeep.schema import SCHEMA_VERSION, TrainRecord
from training.evaluation import Evaluation, accuracy, attack_images, recorded_attack
from training.fit import on_device
from training.foreign_network import wrapped_network
from training.foreign_outputs import Output
from training.import_config import ImportConfig
from training.record import count_targets, describe, summarise
from training.reference import with_reference

RECIPE = "imported"


@dataclass(frozen=True, slots=True)
class Imported:
    """The artifact that was made, and what else was seen while it was.

    `false_alarms` is the share of clean test images that its detectors suspect, and
    `false_alarms_at_least` its lower bound at 95 % confidence.
    """

    artifact: ModelArtifact
    output: Output
    false_alarms: float
    false_alarms_at_least: float


def import_network(
    weights: Path,
    dataset: Dataset,
    splits: Splits,
    config: ImportConfig,
    detectors: DetectorConfig,
    path: Path,
    *,
    version: str,
    device: torch.device,
    progress: Progress,
) -> Imported:
    """Import, evaluate, screen and write an artifact to `path`, whole or not at all.

    Raises `SettingsError` or `ArtifactError`, in one line, if network, weights and data do not fit.
    """
    channels, height, width = splits.train.shape
    manifest = Manifest(
        name=config.name,
        version=version,
        architecture=config.model,
        options={},
        input=ImageShape(channels=channels, height=height, width=width),
        classes=dataset.classes,
        threat_model=config.threat_model,
        train_record={},
        metrics={},
        screening=None,
    )
    ModelArtifact.check_target(path)
    allowed_exceedances(len(splits.calibration_b), detectors.target_fpr, detectors.confidence)
    with trusting(config.model):
        wrapped = wrapped_network(weights, config, manifest.input, len(dataset.classes))
        model = wrapped.classifier.to(device)
        known = asdict(config) | {"weights_sha256": sha256_file(weights), "output": wrapped.output}
        manifest = replace(manifest, options=wrapped.options, train_record={"config": known})
        evaluation = _evaluated(model, manifest, splits.test, device, progress)
        record = _record(dataset, splits, manifest, evaluation, str(device))
        manifest = replace(manifest, train_record=dict(record), metrics=evaluation.to_json())
        artifact = _screened(manifest, model, splits, detectors, path, device, progress)
        alarms = _false_alarms(artifact, splits.test, device)
    count = len(splits.test)
    at_least = 1 - clopper_pearson_upper(count - alarms, count)
    return Imported(artifact, wrapped.output, alarms / count, at_least)


def _screened(
    manifest: Manifest,
    model: Classifier,
    splits: Splits,
    detectors: DetectorConfig,
    path: Path,
    device: torch.device,
    progress: Progress,
) -> ModelArtifact:
    """Write the artifact with its detectors at once; without them it is nowhere but in a scratch.

    Weights that the network holds under two names are written twice: safetensors shares nothing.
    """
    weights = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    with tempfile.TemporaryDirectory(prefix="torchkeep-import-") as scratch:
        bare = ModelArtifact.write(Path(scratch) / "artifact", manifest, {MODEL: weights})
        fitted = fit_detectors(bare, splits, detectors, device, progress)
        fitted = with_reference(fitted, splits, device, progress)
        files = {name: fitted.read_file(name) for name in fitted.hashes}
        return ModelArtifact.write(path, fitted.manifest, files)


def _false_alarms(artifact: ModelArtifact, images: ImageSet, device: torch.device) -> int:
    model = load_screened_model(artifact, device)
    batches = np.array_split(images.images, math.ceil(len(images) / BATCH))
    return int(sum(np.sum(model.screen(batch).suspicious) for batch in batches))


def _evaluated(
    model: Classifier,
    manifest: Manifest,
    images: ImageSet,
    device: torch.device,
    progress: Progress,
) -> Evaluation:
    """Measure the network as training does, with the attack that its record names."""
    attack, count = recorded_attack(manifest)
    pixels, labels = on_device(images, device)
    count = min(count, len(images))
    twins = attack_images(model, attack, pixels[:count], labels[:count], progress)
    return Evaluation(
        clean_accuracy=accuracy(model, pixels, labels),
        clean_images=len(images),
        pgd_accuracy=accuracy(model, twins, labels[:count]),
        pgd_images=count,
        pgd_steps=attack.steps,
        pgd_restarts=attack.restarts,
        threat_model=str(attack.threat),
    )


def _record(
    dataset: Dataset, splits: Splits, manifest: Manifest, evaluation: Evaluation, device: str
) -> TrainRecord:
    """Return a train record of what is known: not how, how long or on what the network learnt.

    Data, rows, features and targets are those it was imported with.
    """
    return TrainRecord(
        schema=SCHEMA_VERSION,
        kind="training",
        timestamp_ns=time.time_ns(),
        model=manifest.name,
        model_version=manifest.version,
        parent_version=None,
        recipe=RECIPE,
        config=dict(manifest.train_record["config"]),
        dataset=describe(dataset, splits),
        rows=len(splits.train),
        features=summarise(splits.train),
        targets=count_targets(dataset.classes, splits.train),
        epochs=[],
        steps=0,
        collapsed_in=[],
        world_size=0,
        resumed=0,
        metrics=evaluation.to_json(),
        runtime_s=0.0,
        images_per_s=0.0,
        loading_share=0.0,
        device=device,
        torch_version=torch.__version__,
        code_version=__version__,
    )
