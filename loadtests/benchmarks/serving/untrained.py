"""A ResNet-18 for 32 × 32 images with detectors, to measure with: its weights are random.

What a pass costs does not depend on what was learnt. Images are drawn, too; the artifact records
them as its data, so that it is served by `torchkeep up` as any other.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from loadtests.images import draw
from robustness.fitting import DetectorConfig, fit_detectors
from torchkeep import __version__
from torchkeep.architectures import build
from torchkeep.artifact import MODEL, Manifest, ModelArtifact
from torchkeep.data import DataConfig, SplitSpec, load_dataset, split
from torchkeep.errors import ArtifactError
from torchkeep.image_shape import ImageShape
from torchkeep.threat_model import Epsilon, Norm, ThreatModel
from training.record import describe

ARCHITECTURE = "resnet18"
SHAPE = ImageShape(channels=3, height=32, width=32)
CLASSES = tuple("abcdefghij")
TRAIN_IMAGES, TEST_IMAGES = 640, 20
THREAT = ThreatModel(norm=Norm.LINF, eps=Epsilon(8 / 255))
DETECTORS = DetectorConfig(target_fpr=0.05, fit_images=256, epochs=1, attack_steps=1)
"""Heads of the usual sizes; how well they detect is of no matter here."""
EVALUATION = {
    "seed": 0,
    "evaluation_images": TEST_IMAGES,
    "evaluation_steps": 1,
    "evaluation_restarts": 1,
}

Progress = Callable[[str], None]


def untrained_resnet18(folder: Path, progress: Progress) -> ModelArtifact:
    """Return the artifact in `folder`, made if it is not there."""
    path = folder / f"{ARCHITECTURE}-untrained"
    try:
        found = ModelArtifact.load(path)
        if found.manifest.code_version == __version__ and found.manifest.screening:
            return found
    except ArtifactError:
        pass
    progress(f"{ARCHITECTURE}: fitting detectors around random weights ...")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images = folder / "images.npz"
    _draw_images(images)
    config = DataConfig(directory=folder / "data")
    dataset = load_dataset(str(images), config=config)
    splits = split(dataset, SplitSpec())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(ARCHITECTURE, SHAPE, len(CLASSES), {})
    manifest = Manifest(
        name=ARCHITECTURE,
        version="1.0",
        architecture=ARCHITECTURE,
        options={},
        input=SHAPE,
        classes=dataset.classes,
        threat_model=THREAT,
        train_record={
            "config": EVALUATION,
            "dataset": describe(dataset, splits),
            "timestamp_ns": time.time_ns(),
        },
        metrics={
            "clean_accuracy": 1 / len(CLASSES),
            "clean_images": 0,
            "pgd_accuracy": 0.0,
            "pgd_images": 0,
            "pgd_steps": 1,
            "pgd_restarts": 1,
            "threat_model": str(THREAT),
        },
        screening=None,
    )
    bare = ModelArtifact.write(path, manifest, {MODEL: model.state_dict()})
    cpu = torch.device("cpu")
    return fit_detectors(bare, splits, DETECTORS, cpu, lambda *_: None)


def _draw_images(path: Path) -> None:
    images = draw(TRAIN_IMAGES + TEST_IMAGES, SHAPE.chw, seed=0)
    labels = np.arange(len(images)) % len(CLASSES)
    np.savez(
        path,
        x_train=images[:TRAIN_IMAGES],
        y_train=labels[:TRAIN_IMAGES],
        x_test=images[TRAIN_IMAGES:],
        y_test=labels[TRAIN_IMAGES:],
        classes=np.array(CLASSES),
    )
