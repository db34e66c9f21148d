"""One training from data to artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from torchkeep.artifact import MODEL, Manifest, ModelArtifact
from torchkeep.data import Dataset, Splits
from torchkeep.image_shape import ImageShape
from training.config import TrainConfig
from training.distributed import World, alone
from training.evaluation import evaluate
from training.fit import Fitted, fit, on_device
from training.loop import Progress
from training.record import train_record
from training.run_folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What to train, on what, and which artifact to make of it.

    With a `parent` training starts from its weights. `cleaned` is what the record says of the
    images that were left out of the data.
    """

    dataset: Dataset
    splits: Splits
    config: TrainConfig
    version: str
    path: Path
    parent: ModelArtifact | None = None
    cleaned: Mapping[str, object] | None = None

    def check(self) -> None:
        """Refuse before the training what could not be written after it."""
        self.manifest()
        ModelArtifact.check_target(self.path)

    @property
    def shape(self) -> ImageShape:
        channels, height, width = self.splits.train.shape
        return ImageShape(channels=channels, height=height, width=width)

    def manifest(self) -> Manifest:
        """Return the artifact's manifest as far as it is known before the training."""
        return Manifest(
            name=self.config.name,
            version=self.version,
            architecture=self.config.architecture,
            options=self.config.options,
            input=self.shape,
            classes=self.dataset.classes,
            threat_model=self.config.threat_model,
            train_record={},
            metrics={},
            screening=None,
        )

    def identity(self) -> dict[str, str]:
        """Return what must be the same for a checkpoint of this training to be gone on from."""
        config = self.config
        return {
            "architecture": f"{config.architecture} {dict(config.options)}",
            "recipe": config.recipe,
            "data": self.dataset.digest,
            "configuration": config.digest(),
            "parent": self.parent.digest if self.parent else "",
        }


def train_model(
    assignment: Assignment, world: World, progress: Progress, folder: RunFolder | None = None
) -> Fitted:
    """Train the network of an assignment together with the other processes of `world`."""
    weights = assignment.parent.tensors(MODEL) if assignment.parent else None
    return fit(
        assignment.config,
        assignment.shape,
        len(assignment.dataset.classes),
        assignment.splits.train,
        assignment.splits.validation,
        device=world.device,
        progress=progress,
        world=world,
        folder=folder,
        weights=weights,
    )


def write_artifact(
    assignment: Assignment, fitted: Fitted, world: World, progress: Progress
) -> ModelArtifact:
    """Evaluate a trained network and write its artifact, still without detectors."""
    test = on_device(assignment.splits.test, world.device)
    evaluation = evaluate(fitted.model, *test, assignment.config, progress)
    record = train_record(
        assignment.dataset,
        assignment.splits,
        assignment.config,
        fitted.training,
        evaluation,
        version=assignment.version,
        parent_version=assignment.parent.manifest.version if assignment.parent else None,
        world_size=world.size,
        device=str(world.device),
        cleaned=assignment.cleaned,
    )
    manifest = replace(
        assignment.manifest(), train_record=dict(record), metrics=evaluation.to_json()
    )
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in fitted.model.state_dict().items()
    }
    return ModelArtifact.write(assignment.path, manifest, {MODEL: weights})


def train_artifact(
    dataset: Dataset,
    splits: Splits,
    config: TrainConfig,
    path: Path,
    *,
    device: torch.device,
    progress: Progress,
    version: str = "1.0",
    parent: ModelArtifact | None = None,
) -> ModelArtifact:
    """Train, evaluate and write an artifact (still without detectors) to `path`, in this process.

    What cannot be written (a wrong name, a folder in use) is refused before the training.
    """
    assignment = Assignment(
        dataset=dataset, splits=splits, config=config, version=version, path=path, parent=parent
    )
    assignment.check()
    world = alone(device)
    return write_artifact(assignment, train_model(assignment, world, progress), world, progress)
