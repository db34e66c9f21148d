"""Our detectors as ART sees them: what `detect` says is what is served."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustness.art_library import prepare
from robustness.fitting import to_unit
from robustness.heads import ActivationHead
from robustness.screened_model import ScreenedModel, load_screened_model
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits

prepare()

from art.defences.detector.evasion import EvasionDetector  # noqa: E402 - after prepare()
from art.estimators.classification import PyTorchClassifier  # noqa: E402

from robustness.detectors import (  # noqa: E402
    ActivationDetector,
    HeadDetector,
    SubsetScanDetector,
    art_classifier,
)


@pytest.fixture(scope="module")
def screened(digits_artifact: ModelArtifact) -> ScreenedModel:
    return load_screened_model(digits_artifact, "cpu")


@pytest.fixture(scope="module")
def wrapped(screened: ScreenedModel) -> PyTorchClassifier:
    return art_classifier(screened.classifier, screened.input_shape, torch.device("cpu"))


def detectors(screened: ScreenedModel, wrapped: PyTorchClassifier) -> list[HeadDetector]:
    kinds = {"activation": ActivationDetector, "subset_scan": SubsetScanDetector}
    return [kinds[head.kind](wrapped, head) for head in screened.typed_heads()]


def test_arts_predictions_are_the_classifiers(
    screened: ScreenedModel, wrapped: PyTorchClassifier, digits: Splits
) -> None:
    images = to_unit(digits.test)[:30]
    expected = screened.classifier(images).detach().numpy()
    assert np.allclose(wrapped.predict(images.numpy()), expected, atol=1e-5)


def test_detect_says_what_is_served(
    screened: ScreenedModel, wrapped: PyTorchClassifier, digits: Splits
) -> None:
    images = to_unit(digits.test)[:50]
    seen = screened.classifier.activations(images)
    served = [head.score(*seen).numpy() for head in screened.typed_heads()]
    for row, detector in zip(served, detectors(screened, wrapped), strict=True):
        assert isinstance(detector, EvasionDetector)
        report, flagged = detector.detect(images.numpy(), batch_size=16)
        assert np.allclose(report["scores"], row, atol=1e-4)
        assert not flagged.any()
        detector.threshold = float(np.median(row))
        assert detector.detect(images.numpy())[1].sum() == 25


def test_what_cannot_be_scored_is_flagged(
    screened: ScreenedModel, wrapped: PyTorchClassifier
) -> None:
    images = np.full((1, *screened.input_shape), np.nan, np.float32)
    assert detectors(screened, wrapped)[0].detect(images)[1].tolist() == [True]


def test_no_images_are_no_error(screened: ScreenedModel, wrapped: PyTorchClassifier) -> None:
    for detector in detectors(screened, wrapped):
        report, flagged = detector.detect(np.empty((0, *screened.input_shape), np.float32))
        assert (len(report["scores"]), len(flagged)) == (0, 0)


def test_fitting_through_art_teaches_the_head(
    screened: ScreenedModel, wrapped: PyTorchClassifier, digits: Splits
) -> None:
    clean = to_unit(digits.train)[:200].numpy()
    noise = np.random.default_rng(0).choice([-0.3, 0.3], clean.shape).astype(np.float32)
    attacked = np.clip(clean + noise, 0, 1)
    images = np.concatenate([clean, attacked])
    labels = np.repeat([0, 1], 200)
    torch.manual_seed(0)
    head = ActivationHead(screened.typed_heads()[0].activations)  # type: ignore[arg-type]
    detector = ActivationDetector(wrapped, head)
    before = {name: value.clone() for name, value in screened.classifier.state_dict().items()}
    detector.fit(images, labels, nb_epochs=5)
    scores = detector.detect(images)[0]["scores"]
    assert scores[200:].mean() > scores[:200].mean() + 1
    after = screened.classifier.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in screened.classifier.parameters())
