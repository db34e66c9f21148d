"""A second look as served: one more head, off by default, and the promised rate for the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from scipy.stats import binom
from torch import Tensor

from robustness.calibration import allowed_exceedances, calibrate_threshold
from robustness.fitting import DetectorConfig, fit_detectors, to_unit
from robustness.fusion import Fusion
from robustness.preprocessing import parse
from robustness.screened_model import ScreenedModel, load_screened_model
from robustness.second_look import learn_second_look, standard_squeezers
from torchkeep.artifact import MODEL, SCREENING, ModelArtifact
from torchkeep.data import Splits
from torchkeep.errors import ArtifactError, SettingsError
from training.evaluation import recorded_attack

CPU = torch.device("cpu")


QUICK = DetectorConfig(
    target_fpr=0.05, fit_images=200, background_images=100, epochs=1, attack_steps=2
)


SHARE = 0.2


def quiet(step: str, done: int, total: int) -> None:
    pass


def unwanted(step: str, done: int, total: int) -> None:
    pytest.fail(f"{step} was begun")


def refitted(
    artifact: ModelArtifact, splits: Splits, path: Path, config: DetectorConfig
) -> ModelArtifact:
    """Fit a copy of an artifact."""
    return fit_detectors(bare_copy(artifact, path), splits, config, CPU, quiet)


def bare_copy(artifact: ModelArtifact, path: Path) -> ModelArtifact:
    manifest = replace(artifact.manifest, screening=None)
    return ModelArtifact.write(path, manifest, {MODEL: artifact.tensors(MODEL)})


@pytest.fixture(scope="module")
def looking(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path_factory: pytest.TempPathFactory
) -> ModelArtifact:
    path = tmp_path_factory.mktemp("looking") / "digits-1.0"
    return refitted(digits_artifact, digits, path, replace(QUICK, second_look=SHARE))


@pytest.fixture(scope="module")
def model(looking: ModelArtifact) -> ScreenedModel:
    return load_screened_model(looking, CPU)


def test_the_distance_is_that_of_the_paper(model: ScreenedModel, digits: Splits) -> None:
    assert model.second_look is not None
    images = to_unit(digits.test)[:30]
    plain = images.numpy()
    twins = (np.rint(plain * 15) / 15, median_filter(plain, (1, 1, 2, 2), mode="reflect"))
    told = [model.classifier(torch.from_numpy(x)).softmax(1).numpy() for x in (plain, *twins)]
    expected = np.maximum(*(np.abs(told[0] - squeezed).sum(1) for squeezed in told[1:]))
    found = model.second_look.score(images, model.classifier(images))
    assert np.allclose(found.numpy(), expected, atol=1e-5)
    assert 0 <= expected.min() < expected.max() <= 2


def test_served_it_is_one_more_head_and_only_adds(model: ScreenedModel, digits: Splits) -> None:
    assert model.second_look is not None
    batch = model.screen(digits.test.images)
    first = first_scores(model, to_unit(digits.test)).numpy()
    away = np.abs(first - model.second_look.cutoff) > 1e-3
    looked_at = first > model.second_look.cutoff
    assert model.head_names == ("activation", "subset_scan", "second_look")
    assert batch.head_p_values.shape == (len(first), 3)
    assert (batch.head_p_values[~looked_at & away, 2] == 1).all()
    assert np.array_equal(batch.score[~looked_at & away], first[~looked_at & away])
    assert (batch.score >= first - 1e-5).all()
    assert 0.05 < looked_at.mean() < 0.5


def first_scores(model: ScreenedModel, images: Tensor) -> Tensor:
    assert model.fusion is not None
    seen = model.classifier.activations(images)
    fused: Tensor = model.fusion(torch.stack([head.score(*seen) for head in model.typed_heads()]))[
        1
    ]
    return fused


def test_served_an_item_is_judged_alike_alone_and_in_company(
    model: ScreenedModel, digits_artifact: ModelArtifact, digits: Splits
) -> None:
    attack, _ = recorded_attack(digits_artifact.manifest)
    clean, labels = to_unit(digits.test)[:12], torch.from_numpy(digits.test.labels)[:12]
    twins = attack(model.classifier, clean, labels).images
    images = torch.cat([clean, twins]).numpy()
    together = model.screen(images)
    assert 0 < (together.head_p_values[:, 2] < 1).sum() < len(images)
    for place in range(len(images)):
        alone = model.screen(images[place : place + 1])
        assert np.allclose(alone.score[0], together.score[place], atol=0.05)


def test_what_cannot_be_judged_fails_closed(model: ScreenedModel) -> None:
    images = np.random.default_rng(0).random((4, *model.input_shape), np.float32)
    clean = model.screen(images)
    images[1, 0, 2, 2] = np.nan
    spoilt = model.screen(images)
    assert spoilt.failed.tolist() == [False, True, False, False]
    assert spoilt.suspicious[1]
    assert np.allclose(spoilt.score[[0, 2, 3]], clean.score[[0, 2, 3]], atol=0.05)


def test_the_threshold_is_that_of_the_whole_path(looking: ModelArtifact, digits: Splits) -> None:
    model, screening = load_screened_model(looking, CPU), dict(looking.manifest.screening or {})
    calibration = screening["calibration"]
    above = int(model.screen(digits.calibration_b.images).suspicious.sum())
    assert above == calibration["exceedances"]
    fresh = int(model.screen(digits.test.images).suspicious.sum())
    assert fresh <= binom.ppf(0.9999, len(digits.test), calibration["target_fpr"])
    assert screening["second_look"]["share"] == SHARE


def test_fresh_clean_images_keep_to_the_promised_rate(model: ScreenedModel, digits: Splits) -> None:
    """Of fresh scores (k + 1) / (n + 1) exceed the k-th of n others, if all are exchangeable."""
    images = torch.cat(
        [to_unit(x) for x in (digits.calibration_a, digits.calibration_b, digits.test)]
    )
    activations, logits = model.classifier.activations(images)
    raw = torch.stack([head.score(activations, logits) for head in model.typed_heads()])
    random, rates, naive = torch.Generator().manual_seed(0), [], []
    for _ in range(60):
        a, b, fresh = torch.randperm(len(images), generator=random).split([320, 320, 269])
        fusion = Fusion(raw[:, a])
        look = learn_second_look(
            model.classifier, standard_squeezers(), images[a], fusion(raw[:, a])[1], SHARE
        )
        first = fusion(raw)[1]
        final = look(images, logits, first)[1]
        threshold, of_first = (calibrate_threshold(x[b], 0.05).value for x in (final, first))
        rates.append((final[fresh] > threshold).float().mean().item())
        naive.append((final[fresh] > of_first).float().mean().item())
    promised = (allowed_exceedances(320, 0.05) + 1) / 321
    error = 4 * np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= promised + error
    assert np.mean(naive) > promised + error  # a threshold for the first look alone would not do


@pytest.mark.parametrize("preprocessing", [None, "bits:2", "median:3"])
def test_it_composes_with_preprocessing_and_off_is_as_without(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path: Path, preprocessing: str | None
) -> None:
    config = replace(QUICK, preprocessing=preprocessing)
    without, with_look = (
        refitted(digits_artifact, digits, tmp_path / name, replace(config, second_look=share))
        for name, share in (("off", 0.0), ("on", SHARE))
    )
    off, on = (load_screened_model(artifact, CPU) for artifact in (without, with_look))
    assert off.second_look is None
    assert on.second_look is not None
    assert "second_look" not in dict(without.manifest.screening or {})
    kept, more = without.tensors(SCREENING), with_look.tensors(SCREENING)
    assert more.keys() - kept.keys() == {"second_look"}
    assert all(torch.equal(kept[name], more[name]) for name in kept.keys() - {"calibration_b"})
    before, after = (one.screen(digits.test.images) for one in (off, on))
    assert np.array_equal(before.probabilities, after.probabilities)
    assert np.array_equal(before.embedding, after.embedding)
    assert np.array_equal(before.head_p_values, after.head_p_values[:, :2])
    looked_at = before.score > on.second_look.cutoff
    assert np.array_equal(before.score[~looked_at], after.score[~looked_at])
    images = to_unit(digits.test)
    shown = images if preprocessing is None else parse(preprocessing)(images)
    logits = on.classifier(shown)
    final = on.second_look(shown, logits, torch.from_numpy(before.score))[1]
    assert np.allclose(final.numpy(), after.score, atol=1e-5)
    above = on.screen(digits.calibration_b.images).suspicious.sum()
    assert above == dict(with_look.manifest.screening or {})["calibration"]["exceedances"]


def test_an_artifact_without_the_entry_has_none(digits_artifact: ModelArtifact) -> None:
    served = load_screened_model(digits_artifact, CPU)
    assert served.second_look is None
    assert served.head_names == ("activation", "subset_scan")


BITS = {"kind": "bits", "options": {"depth": 4}}


@pytest.mark.parametrize(
    "entry",
    [
        7,
        None,
        {},
        {"cutoff": 1.0},
        {"squeezers": [BITS]},
        {"cutoff": "1", "squeezers": [BITS]},
        {"cutoff": float("nan"), "squeezers": [BITS]},
        {"cutoff": True, "squeezers": [BITS]},
        {"cutoff": 1.0, "squeezers": []},
        {"cutoff": 1.0, "squeezers": BITS},
        {"cutoff": 1.0, "squeezers": [BITS] * 9},
        {"cutoff": 1.0, "squeezers": ["bits"]},
        {"cutoff": 1.0, "squeezers": [{"kind": "oracle", "options": {}}]},
        {"cutoff": 1.0, "squeezers": [{"kind": "bits", "options": {"depth": 99}}]},
    ],
)
def test_an_entry_that_is_no_second_look_is_refused(
    looking: ModelArtifact, tmp_path: Path, entry: Any
) -> None:
    screening = dict(looking.manifest.screening or {}) | {"second_look": entry}
    with pytest.raises(ArtifactError):
        load_screened_model(rewritten(looking, tmp_path / "a", screening=screening), CPU)


@pytest.mark.parametrize(
    "change",
    [lambda x: x[:0], lambda x: x[None], lambda x: x.double(), None],
    ids=["none", "two-dimensional", "double", "missing"],
)
def test_distances_that_do_not_fit_are_refused(
    looking: ModelArtifact, tmp_path: Path, change: Callable[[Tensor], Tensor] | None
) -> None:
    tensors = dict(looking.tensors(SCREENING))
    distances = tensors.pop("second_look")
    if change is not None:
        tensors["second_look"] = change(distances).contiguous()
    with pytest.raises(ArtifactError, match="second_look"):
        load_screened_model(rewritten(looking, tmp_path / "a", tensors=tensors), CPU)


def rewritten(
    artifact: ModelArtifact,
    path: Path,
    *,
    screening: dict[str, Any] | None = None,
    tensors: dict[str, Tensor] | None = None,
) -> ModelArtifact:
    """Write an artifact with another screening entry or other tensors of it."""
    return bare_copy(artifact, path).with_screening(
        screening or dict(artifact.manifest.screening or {}), tensors or artifact.tensors(SCREENING)
    )


@pytest.mark.parametrize("share", [-0.1, 0.01, 0.05, 0.51, 1.0, float("nan"), float("inf")])
def test_a_share_that_makes_no_sense_is_refused(share: float) -> None:
    with pytest.raises(SettingsError, match=r"a second look at .*Give 0, or above target_fpr"):
        DetectorConfig(target_fpr=0.05, second_look=share)


def test_too_few_images_to_look_at_are_an_error_before_any_work(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path: Path
) -> None:
    few = replace(digits, calibration_a=digits.calibration_a.subset(np.arange(40)))
    with pytest.raises(SettingsError, match=r"one at too few.*Give a share of 0\.268 or more"):
        fit_detectors(
            bare_copy(digits_artifact, tmp_path / "a"),
            few,
            replace(QUICK, second_look=SHARE),
            CPU,
            unwanted,
        )
