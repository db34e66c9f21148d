"""The served model says in one pass what its parts say one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robustness.calibration import allowed_exceedances
from robustness.detection_metrics import auroc
from robustness.fitting import DetectorConfig, fit_detectors, to_unit
from robustness.preprocessing import parse
from robustness.screened_model import ScreenedModel, load_classifier, load_screened_model
from torchkeep.artifact import MODEL, ModelArtifact
from torchkeep.data import Splits
from torchkeep.errors import ArtifactError, SettingsError
from training.evaluation import recorded_attack

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def screened(digits_artifact: ModelArtifact) -> ScreenedModel:
    return load_screened_model(digits_artifact, CPU)


def test_one_pass_says_what_the_parts_say(screened: ScreenedModel, digits: Splits) -> None:
    images = to_unit(digits.test)[:40]
    batch = screened.screen(images.numpy())
    activations, logits = screened.classifier.activations(images)
    assert np.allclose(batch.probabilities, logits.softmax(1).numpy(), atol=1e-6)
    for column, head in enumerate(screened.typed_heads()):
        score = head.score(activations, logits)
        assert screened.fusion is not None
        calibration = screened.fusion.calibration[column]
        above = (calibration[None] >= score[:, None]).sum(1)
        expected = (1 + above) / (1 + len(calibration))
        assert np.allclose(batch.head_p_values[:, column], expected.numpy())
    inside = batch.head_p_values.min(1) > 1 / len(digits.calibration_a)
    smallest = -np.log(batch.head_p_values.min(1))
    assert np.allclose(batch.score[inside], smallest[inside], atol=1e-6)
    assert (batch.score >= smallest - 1e-6).all()
    assert np.array_equal(batch.suspicious, batch.score > screened.threshold)
    features = screened.classifier.features(images)
    assert np.allclose(batch.embedding, (features @ screened.projection).numpy(), atol=1e-2)
    assert (batch.embedding.dtype, batch.embedding.shape) == (np.float16, (40, 32))
    assert not batch.failed.any()


def test_bytes_and_floats_of_one_image_are_one(screened: ScreenedModel, digits: Splits) -> None:
    images = digits.test.images[:20]
    as_bytes = screened.screen(images)
    as_floats = screened.screen((images / 255).astype(np.float32))
    assert np.allclose(as_bytes.probabilities, as_floats.probabilities, atol=1e-5)
    assert np.allclose(as_bytes.score, as_floats.score, atol=1e-5)


def test_an_item_is_judged_alike_alone_and_in_company(
    screened: ScreenedModel, digits: Splits
) -> None:
    images = digits.test.images[:20]
    together = screened.screen(images)
    for position in (0, 7, 19):
        alone = screened.screen(images[position : position + 1])
        assert np.allclose(alone.probabilities[0], together.probabilities[position], atol=1e-5)
        assert np.allclose(alone.score[0], together.score[position], atol=0.05)


def test_clean_images_pass_and_attacked_ones_do_not(
    screened: ScreenedModel, digits_artifact: ModelArtifact, digits: Splits
) -> None:
    clean = screened.screen(digits.test.images)
    attack, _ = recorded_attack(digits_artifact.manifest)
    labels = torch.from_numpy(digits.test.labels)
    attacked = attack(load_classifier(digits_artifact), to_unit(digits.test), labels)
    found = screened.screen(attacked.images.numpy())
    assert clean.suspicious.mean() < 0.1
    assert auroc(clean.score, found.score) > 0.9


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_what_cannot_be_judged_fails_closed(screened: ScreenedModel, value: float) -> None:
    images = np.zeros((3, *screened.input_shape), np.float32)
    images[1] = value
    batch = screened.screen(images)
    assert batch.failed.tolist() == [False, True, False]
    assert batch.suspicious[1]
    assert np.isfinite(batch.probabilities[[0, 2]]).all()


def test_a_model_without_heads_suspects_nothing(screened: ScreenedModel) -> None:
    bare = ScreenedModel(
        screened.classifier,
        [],
        fusion=None,
        fused_scores=torch.empty(0),
        projection=screened.projection,
        threshold=float("inf"),
        calibration_id="none",
        classes=screened.classes,
        input_shape=screened.input_shape,
    )
    batch = bare.screen(np.zeros((2, *screened.input_shape), np.uint8))
    assert batch.head_p_values.shape == (2, 0)
    assert batch.score.tolist() == [0, 0]
    assert batch.p_value.tolist() == [1, 1]
    assert not batch.suspicious.any()


def test_the_threshold_keeps_its_bound_on_calibration_images(
    digits_artifact: ModelArtifact, digits: Splits, screened: ScreenedModel
) -> None:
    calibration = dict(digits_artifact.manifest.screening or {})["calibration"]
    scores = screened.screen(digits.calibration_b.images).score
    above = int((scores > screened.threshold).sum())
    assert above <= allowed_exceedances(len(scores), calibration["target_fpr"])
    assert calibration["fpr_upper_bound"] <= calibration["target_fpr"]
    assert calibration["images_b"] == len(digits.calibration_b)


def copy_of(artifact: ModelArtifact, path: Path) -> ModelArtifact:
    manifest = replace(artifact.manifest, screening=None)
    return ModelArtifact.write(path, manifest, {MODEL: artifact.tensors(MODEL)})


QUICK = DetectorConfig(
    target_fpr=0.05, fit_images=200, background_images=100, epochs=1, attack_steps=2
)


def quiet(step: str, done: int, total: int) -> None:
    pass


def test_fitting_repeats_under_its_seed(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path: Path
) -> None:
    fitted = [
        fit_detectors(copy_of(digits_artifact, tmp_path / name), digits, QUICK, CPU, quiet)
        for name in ("one", "two")
    ]
    assert fitted[0].digest == fitted[1].digest


def test_fitting_leaves_the_weights_alone(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path: Path
) -> None:
    fitted = fit_detectors(copy_of(digits_artifact, tmp_path / "a"), digits, QUICK, CPU, quiet)
    assert fitted.hashes[MODEL] == digits_artifact.hashes[MODEL]


def test_too_few_calibration_images_are_an_error_and_leave_the_artifact(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path: Path
) -> None:
    artifact = copy_of(digits_artifact, tmp_path / "a")
    with pytest.raises(SettingsError, match=r"cannot show a false-positive rate of 0\.001"):
        fit_detectors(artifact, digits, replace(QUICK, target_fpr=0.001), CPU, quiet)
    assert ModelArtifact.load(tmp_path / "a") == artifact


def test_without_detectors_nothing_is_served(
    digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=r"has no detectors.*fit-detectors"):
        load_screened_model(copy_of(digits_artifact, tmp_path / "a"), CPU)


def rewritten(artifact: ModelArtifact, path: Path, change: Callable[[dict], None]) -> ModelArtifact:
    import copy

    screening = copy.deepcopy(dict(artifact.manifest.screening or {}))
    change(screening)
    return copy_of(artifact, path).with_screening(
        screening, artifact.tensors("screening.safetensors")
    )


def test_a_threshold_of_another_device_is_refused(
    digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    foreign = rewritten(
        digits_artifact,
        tmp_path / "a",
        lambda screening: screening["calibration"].update(device_type="cuda"),
    )
    with pytest.raises(ArtifactError, match=r"calibrated on cuda, not cpu.*--device cpu"):
        load_screened_model(foreign, CPU)


@pytest.mark.parametrize(
    "change",
    [
        lambda screening: screening.pop("calibration"),
        lambda screening: screening.update(calibration=7),
        lambda screening: screening["calibration"].pop("device_type"),
        lambda screening: screening["calibration"].update(threshold=None),
        lambda screening: screening["calibration"].update(threshold=float("nan")),
        lambda screening: screening["heads"][0].update(kind="oracle"),
        lambda screening: screening["heads"][0]["options"].update(activations=3),
        lambda screening: screening["heads"][0].update(name="other"),
    ],
)
def test_heads_that_do_not_fit_are_refused(
    digits_artifact: ModelArtifact, tmp_path: Path, change: Callable[[dict], None]
) -> None:
    with pytest.raises(ArtifactError):
        load_screened_model(rewritten(digits_artifact, tmp_path / "a", change), CPU)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("calibration_a", lambda tensor: tensor[:1]),
        ("calibration_a", lambda tensor: tensor[:, :0]),
        ("calibration_a", lambda tensor: tensor[0]),
        ("calibration_a", lambda tensor: tensor.double()),
        ("calibration_b", lambda tensor: tensor[:0]),
        ("calibration_b", lambda tensor: tensor[None]),
        ("projection", lambda tensor: tensor[:-1]),
        ("projection", lambda tensor: tensor[:, :-1]),
    ],
)
def test_calibration_that_does_not_fit_is_refused(
    digits_artifact: ModelArtifact,
    tmp_path: Path,
    name: str,
    change: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    tensors = dict(digits_artifact.tensors("screening.safetensors"))
    tensors[name] = change(tensors[name]).contiguous()
    screening = dict(digits_artifact.manifest.screening or {})
    damaged = copy_of(digits_artifact, tmp_path / "a").with_screening(screening, tensors)
    with pytest.raises(ArtifactError, match=f"{name} is"):
        load_screened_model(damaged, CPU)


@pytest.mark.parametrize("written", ["bits:2", "tv:0.1"])
def test_preprocessing_is_served_and_calibrated_on(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path: Path, written: str
) -> None:
    config = replace(QUICK, preprocessing=written, fit_images=60, background_images=60)
    fitted = fit_detectors(copy_of(digits_artifact, tmp_path / "a"), digits, config, CPU, quiet)
    served = load_screened_model(ModelArtifact.load(tmp_path / "a"), CPU)
    assert served.preprocessing is not None
    images = to_unit(digits.test)[:50]
    expected = load_classifier(fitted)(parse(written)(images)).softmax(1)
    batch = served.screen(images.numpy())
    assert np.allclose(batch.probabilities, expected.detach().numpy(), atol=1e-5)
    calibration = dict(fitted.manifest.screening or {})["calibration"]
    above = served.screen(digits.calibration_b.images).suspicious.sum()
    assert above == calibration["exceedances"]
    spoilt = images.clone()
    spoilt[1] = float("nan")
    assert served.screen(spoilt.numpy()).failed.tolist() == [False, True, *[False] * 48]


def test_an_artifact_without_preprocessing_has_none_and_says_nothing_of_it(
    digits_artifact: ModelArtifact, screened: ScreenedModel
) -> None:
    assert "preprocessing" not in dict(digits_artifact.manifest.screening or {})
    assert screened.preprocessing is None


@pytest.mark.parametrize("raw", [7, [], {}, {"kind": "jpeg"}, {"kind": "x", "options": {}}])
def test_preprocessing_that_does_not_exist_is_refused(
    digits_artifact: ModelArtifact, tmp_path: Path, raw: object
) -> None:
    damaged = rewritten(
        digits_artifact, tmp_path / "a", lambda screening: screening.update(preprocessing=raw)
    )
    with pytest.raises(ArtifactError):
        load_screened_model(damaged, CPU)


def test_preprocessing_that_cannot_be_parsed_is_refused_before_any_work() -> None:
    with pytest.raises(SettingsError, match="Write jpeg:75"):
        DetectorConfig(preprocessing="blur:3")
