"""Steps that several verbs share: data, training, detectors, each reused where it still fits."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from torchkeep.artifact import ModelArtifact
from torchkeep.errors import ArtifactError, SettingsError
from torchkeep.paths import Home
from torchkeep.progress import Report

if TYPE_CHECKING:
    import torch

    from robustness.fitting import DetectorConfig
    from torchkeep.data import Dataset, Splits
    from training.config import TrainConfig


def torch_device(name: str) -> torch.device:
    """Return the device of that name. Raises `SettingsError` if this machine has none."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"no device {name!r}", remedy="Give cpu, cuda or cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"no device {name!r}", remedy="Give cpu, cuda or cuda:N.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError("this machine has no CUDA device", remedy="Use --device cpu.")
    return device


def load_splits(name: str) -> tuple[Dataset, Splits]:
    """Fetch or read a data set and split it, as the settings say."""
    from training.material import Material

    material = Material.load(name)
    return material.dataset, material.splits


def recorded_splits(artifact: ModelArtifact, data: str | None) -> Splits:
    """Return the splits an artifact was trained on, from `data` or from where its record says.

    Raises `ArtifactError` if those are other data.
    """
    from training.material import Material

    record = artifact.manifest.train_record.get("dataset", {})
    name, source = record.get("name", ""), record.get("source", "")
    place = data or (source if Path(source).is_absolute() else name)
    material = Material.recorded(place, record.get("cleaned"))
    dataset = material.dataset
    if dataset.digest != record.get("digest"):
        raise ArtifactError(
            f"{artifact.path} was trained on other data than {dataset.name}",
            remedy="Give the data it was trained on with --data.",
        )
    return material.splits


def artifact_path(name: str, version: str) -> Path:
    """Return where the artifact of a model version lies by default."""
    return Home.default().artifacts / f"{name}-{version}"


def reusable(config: TrainConfig, dataset_digest: str, version: str) -> ModelArtifact | None:
    """Return the artifact on disk if it came of this very configuration and data."""
    try:
        artifact = ModelArtifact.load(artifact_path(config.name, version))
    except ArtifactError:
        return None
    record = artifact.manifest.train_record
    same_config = record.get("config") == orjson.loads(orjson.dumps(config.to_json()))
    same_data = record.get("dataset", {}).get("digest") == dataset_digest
    return artifact if same_config and same_data else None


def fitted(
    artifact: ModelArtifact,
    splits: Splits,
    config: DetectorConfig,
    device: torch.device,
    report: Report,
) -> ModelArtifact:
    """Fit and calibrate detectors, unless the artifact has them from this very configuration.

    With them comes the reference for monitoring; where it alone is missing, it alone is made.
    """
    from robustness.fitting import fit_detectors
    from training.reference import has_reference, with_reference

    screening = artifact.manifest.screening
    if screening is not None:
        usual = asdict(type(config)())  # what a record of an older version does not name
        fitted_with = orjson.loads(orjson.dumps(usual)) | screening["fitted_with"]
        same_config = fitted_with == orjson.loads(orjson.dumps(asdict(config)))
        if same_config and screening["calibration"]["device_type"] == device.type:
            present = has_reference(artifact)
            return artifact if present else with_reference(artifact, splits, device, report)
    artifact = fit_detectors(artifact, splits, config, device, report)
    return with_reference(artifact, splits, device, report)
