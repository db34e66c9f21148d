"""The reference of a real small model: what its server will log of the same images."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from monitoring.features import feature_names
from monitoring.reference import Reference
from monitoring.reference_file import load_reference
from robustness.fitting import DetectorConfig
from robustness.screened_model import load_screened_model
from tests.conftest import quiet
from torchkeep.artifact import MODEL, REFERENCE, SCREENING, ModelArtifact
from torchkeep.cli.preparation import fitted
from torchkeep.data import ImageSet, Splits
from torchkeep.errors import ArtifactError
from training.reference import make_reference, with_reference

CPU = torch.device("cpu")
CONFIG = DetectorConfig(fit_images=600, background_images=300, epochs=5, attack_steps=5)


@pytest.fixture
def own(digits_artifact: ModelArtifact, tmp_path: Path) -> ModelArtifact:
    """A copy of the digits' artifact, without a reference."""
    shutil.copytree(digits_artifact.path, tmp_path / "digits-1.0")
    return ModelArtifact.load(tmp_path / "digits-1.0")


@pytest.fixture(scope="module")
def made(digits_artifact: ModelArtifact, digits: Splits) -> Reference:
    model = load_screened_model(digits_artifact, "cpu")
    return make_reference(digits_artifact, model, digits.calibration_b, quiet)


def test_it_is_of_the_images_the_threshold_was_calibrated_on(
    made: Reference, digits: Splits, digits_artifact: ModelArtifact
) -> None:
    held_out = digits.calibration_b
    assert (made.model, made.version, made.images) == ("digits", "1.0", len(held_out))
    assert made.feature_names == feature_names(1)
    np.testing.assert_array_equal(made.labels, held_out.labels)
    np.testing.assert_array_equal(np.diag(made.class_counts), np.diag(made.confusion.sum(axis=0)))
    assert (made.predicted == made.labels).mean() == made.confusion.trace() / made.images > 0.9
    # the p-values of calibration are ranks among these very scores
    calibrated = digits_artifact.tensors(SCREENING)["calibration_b"].numpy()
    np.testing.assert_allclose(np.sort(made.score), calibrated, rtol=1e-5)


def test_its_quantiles_are_those_of_all_images(made: Reference) -> None:
    np.testing.assert_array_equal(made.quantiles, np.sort(made.features, axis=0).T)


def test_the_same_images_make_the_same_reference(
    own: ModelArtifact, digits: Splits, tmp_path: Path
) -> None:
    one = with_reference(own, digits, CPU, quiet)
    assert one.hashes.items() >= own.hashes.items()
    again = with_reference(own, digits, CPU, quiet)
    assert again.digest == one.digest != own.digest
    assert load_reference(one.path).artifact_digest == one.digest


def test_only_a_missing_reference_is_made_where_the_detectors_fit(
    own: ModelArtifact, digits: Splits
) -> None:
    once = fitted(own, digits, CONFIG, CPU, quiet)
    assert {name: once.hashes[name] for name in (MODEL, SCREENING)} == own.hashes
    assert load_reference(once.path).images == len(digits.calibration_b)
    before = (once.path / REFERENCE).stat().st_mtime_ns
    assert fitted(once, digits, CONFIG, CPU, quiet) == once
    assert (once.path / REFERENCE).stat().st_mtime_ns == before


def test_a_reference_that_cannot_be_read_is_made_anew(own: ModelArtifact, digits: Splits) -> None:
    odd = own.with_reference({"schema": 99}, b"")
    again = fitted(odd, digits, CONFIG, CPU, quiet)
    assert load_reference(again.path).images == len(digits.calibration_b)


def test_new_detectors_come_with_a_new_reference(own: ModelArtifact, digits: Splits) -> None:
    first = load_reference(with_reference(own, digits, CPU, quiet).path)
    other = fitted(ModelArtifact.load(own.path), digits, replace(CONFIG, seed=1), CPU, quiet)
    second = load_reference(other.path)
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    assert not np.array_equal(first.score, second.score)


def test_a_model_that_says_nothing_finite_has_no_reference(
    digits_artifact: ModelArtifact, digits: Splits
) -> None:
    model = load_screened_model(digits_artifact, "cpu")
    model.classifier.head.bias.data[0] = torch.nan
    images = ImageSet(digits.calibration_b.images[:3], digits.calibration_b.labels[:3])
    with pytest.raises(ArtifactError, match="no finite output for 3 held-out images"):
        make_reference(digits_artifact, model, images, quiet)
