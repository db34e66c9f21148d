"""What records and answers say of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from robustness.screened_model import ScreenedModel
from torchkeep.artifact import ModelArtifact


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """Identity and screening of the model in service."""

    name: str
    version: str
    digest: str
    code_version: str
    device: str
    threshold: float
    calibration_id: str
    head_names: tuple[str, ...]

    @classmethod
    def of(cls, artifact: ModelArtifact, model: ScreenedModel, code_version: str) -> Self:
        """Describe a loaded artifact, served by that version of the code."""
        return cls(
            name=artifact.manifest.name,
            version=artifact.manifest.version,
            digest=artifact.digest,
            code_version=code_version,
            device=str(model.device),
            threshold=model.threshold,
            calibration_id=model.calibration_id,
            head_names=model.head_names,
        )
