"""A network that computes in bfloat16, and detectors calibrated on what it then gives."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robustness.fitting import DetectorConfig, fit_detectors, to_unit
from robustness.screened_model import load_classifier, load_screened_model
from tests.conftest import quiet
from torchkeep.artifact import ModelArtifact
from torchkeep.cli.preparation import fitted
from torchkeep.data import Splits
from torchkeep.dtype import Dtype
from torchkeep.errors import ArtifactError

CPU = torch.device("cpu")
QUICK = DetectorConfig(fit_images=300, background_images=100, epochs=3, attack_steps=3)
REDUCED = replace(QUICK, dtype=Dtype.BFLOAT16)


@pytest.fixture(scope="module")
def reduced(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path_factory: pytest.TempPathFactory
) -> ModelArtifact:
    """The small network with detectors that were calibrated in bfloat16."""
    path = tmp_path_factory.mktemp("bfloat16") / "digits-1.0"
    shutil.copytree(digits_artifact.path, path)
    return fit_detectors(ModelArtifact.load(path), digits, REDUCED, CPU, quiet)


def test_only_the_inside_of_the_network_is_reduced(
    digits_artifact: ModelArtifact, digits: Splits
) -> None:
    images = to_unit(digits.test)[:100]
    exact, coarse = load_classifier(digits_artifact), load_classifier(digits_artifact)
    coarse.compute_in_bfloat16()
    assert {p.dtype for p in coarse.features.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in coarse.head.parameters()} == {torch.float32}
    with torch.no_grad():
        for one, other in zip(
            (*exact.activations(images), exact(images)),
            (*coarse.activations(images), coarse(images)),
            strict=True,
        ):
            assert other.dtype == torch.float32
            scale = one.abs().max()
            assert 0 < (one - other).abs().max() < 0.05 * scale
    agree = exact(images).argmax(1) == coarse(images).argmax(1)
    assert agree.float().mean() > 0.97


def test_gradients_pass_through(digits_artifact: ModelArtifact, digits: Splits) -> None:
    images = to_unit(digits.test)[:4].requires_grad_()
    coarse = load_classifier(digits_artifact)
    coarse.compute_in_bfloat16()
    coarse(images).sum().backward()
    assert images.grad is not None
    assert images.grad.dtype == torch.float32
    assert images.grad.abs().sum() > 0


def test_the_calibration_says_what_it_holds_for(reduced: ModelArtifact) -> None:
    screening = dict(reduced.manifest.screening or {})
    assert screening["calibration"]["dtype"] == "bfloat16"
    assert screening["fitted_with"]["dtype"] == "bfloat16"


def test_it_is_served_as_it_was_calibrated(reduced: ModelArtifact, digits: Splits) -> None:
    for dtype in (None, Dtype.BFLOAT16):
        model = load_screened_model(reduced, CPU, dtype)
        assert {p.dtype for p in model.classifier.features.parameters()} == {torch.bfloat16}
        assert {t.dtype for t in model.heads.state_dict().values()} == {torch.float32}
    batch = model.screen(digits.test.images)
    assert np.isfinite(batch.score).all()
    assert batch.probabilities.dtype == np.float32
    # Clopper-Pearson: with at most 1 % allowed, 3 % of these would be a broken calibration
    assert batch.suspicious.mean() < 0.03


def test_the_calibration_scores_are_those_that_are_served(
    reduced: ModelArtifact, digits: Splits
) -> None:
    model = load_screened_model(reduced, CPU)
    served = np.sort(model.screen(digits.calibration_b.images).score)
    np.testing.assert_allclose(served, model.fused_scores.numpy(), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("name", "dtype", "said"),
    [
        ("reduced", Dtype.FLOAT32, "calibrated in bfloat16, not float32"),
        ("digits_artifact", Dtype.BFLOAT16, "calibrated in float32, not bfloat16"),
    ],
)
def test_thresholds_of_another_dtype_are_refused(
    request: pytest.FixtureRequest, name: str, dtype: Dtype, said: str
) -> None:
    artifact: ModelArtifact = request.getfixturevalue(name)
    with pytest.raises(ArtifactError, match=said) as caught:
        load_screened_model(artifact, CPU, dtype)
    assert f"fit-detectors --dtype {dtype}" in str(caught.value)
    assert "[serving] dtype" in str(caught.value)


def test_a_dtype_that_is_not_served_is_refused(
    digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    shutil.copytree(digits_artifact.path, tmp_path / "a")
    artifact = ModelArtifact.load(tmp_path / "a")
    screening = dict(artifact.manifest.screening or {})
    screening["calibration"] = {**screening["calibration"], "dtype": "int4"}
    odd = artifact.with_screening(screening, artifact.tensors("screening.safetensors"))
    with pytest.raises(ArtifactError, match="'int4', which is not served"):
        load_screened_model(odd, CPU)


def test_detectors_of_another_dtype_are_fitted_anew(reduced: ModelArtifact, digits: Splits) -> None:
    def refuse(step: str, done: int, total: int) -> None:
        raise AssertionError("fitted again")

    whole = fitted(reduced, digits, REDUCED, CPU, quiet)  # its reference alone is missing
    assert whole.manifest.screening == reduced.manifest.screening
    assert fitted(whole, digits, REDUCED, CPU, refuse) == whole
    with pytest.raises(AssertionError, match="fitted again"):
        fitted(whole, digits, QUICK, CPU, refuse)
