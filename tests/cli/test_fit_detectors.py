"""`torchkeep fit-detectors` for a network that is to compute in another dtype."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from monitoring.reference_file import load_reference
from robustness.screened_model import load_screened_model
from tests.cli.project import Project
from torchkeep.artifact import ModelArtifact
from torchkeep.dtype import Dtype
from torchkeep.errors import ArtifactError


def test_detectors_are_calibrated_in_the_dtype_that_is_asked_for(
    digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    path = tmp_path / "digits-1.0"
    shutil.copytree(digits_artifact.path, path)
    told = Project(tmp_path).json("fit-detectors", str(path), "--dtype", "bfloat16")
    assert told["dtype"] == "bfloat16"
    assert told["fpr_upper_bound"] <= 0.01
    artifact = ModelArtifact.load(path)
    assert told["reference_images"] == load_reference(path).images == told["images_b"]
    load_screened_model(artifact, "cpu", Dtype.BFLOAT16)
    with pytest.raises(ArtifactError, match="fit-detectors --dtype float32"):
        load_screened_model(artifact, "cpu", Dtype.FLOAT32)
    odd = Project(tmp_path).run("fit-detectors", str(path), "--dtype", "float16")
    assert odd.returncode == 2
    assert "bfloat16" in odd.stderr
