"""The whole scan on small real data: what is found, what is not flagged, what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from robustness.art_library import prepare
from robustness.poisoning.config import ScanConfig
from robustness.poisoning.evidence import Learn
from robustness.poisoning.findings import ScanResult
from robustness.poisoning.group import Reason
from tests.conftest import quiet
from torchkeep.cli.poison_learner import learner, scan_recipe
from torchkeep.data import CleanedIndex, Dataset, ImageSet
from torchkeep.errors import DataError, SettingsError

prepare()

from robustness.poisoning.backdoors import (  # noqa: E402 - after prepare()
    Trigger,
    backdoor,
    flip_labels,
)
from robustness.poisoning.scan import scan  # noqa: E402

CONFIG = ScanConfig(seed=2)


@cache
def small_learner() -> Learn:
    config = replace(scan_recipe(None, 1), epochs=12, batch_size=50)
    return learner(config, 10, torch.device("cpu"), quiet)


def scanned(data: ImageSet, config: ScanConfig = CONFIG) -> ScanResult:
    classes = tuple("0123456789")
    return scan(data, classes, config, small_learner(), quiet).result


@pytest.fixture(scope="module")
def backdoored(digits_dataset: Dataset) -> tuple[ScanResult, np.ndarray]:
    attacked = backdoor(digits_dataset.train, Trigger.PIXEL, 0.1, target=2, seed=2)
    return scanned(attacked.data), attacked.poisoned


def test_a_backdoor_is_found(backdoored: tuple[ScanResult, np.ndarray]) -> None:
    result, poisoned = backdoored
    assert result.flagged[poisoned].mean() >= 0.95
    assert result.flagged[~poisoned].mean() <= 0.01


def test_a_finding_says_which_sample_why_and_how_sure(
    backdoored: tuple[ScanResult, np.ndarray], digits_dataset: Dataset
) -> None:
    result, poisoned = backdoored
    assert list(result.places) == sorted(set(result.places))
    found = [finding for finding in result.findings if poisoned[finding.place]]
    assert {finding.label for finding in found} == {"2"}
    assert all(0 <= finding.confidence <= 1 for finding in result.findings)
    judged = [finding for finding in found if Reason.RECLASSIFIED in finding.reasons]
    assert len(judged) > 0.9 * len(found)
    detectors = {Reason.ACTIVATION_CLUSTER, Reason.NEIGHBOUR_DIRECTION, Reason.SPECTRAL_SIGNATURE}
    named = [finding for finding in judged if detectors & set(finding.reasons)]
    assert len(named) > 0.9 * len(judged), "the others lie on the way to a group"
    shown = [finding.shows == str(digits_dataset.train.labels[finding.place]) for finding in found]
    assert np.mean(shown) > 0.8
    assert any(group.confirmed and group.label == "2" for group in result.groups)
    assert result.to_json()["flagged"] == len(result.findings)


def test_the_result_depends_on_the_seed_alone(
    backdoored: tuple[ScanResult, np.ndarray], digits_dataset: Dataset
) -> None:
    attacked = backdoor(digits_dataset.train, Trigger.PIXEL, 0.1, target=2, seed=2)
    assert scanned(attacked.data) == backdoored[0]


def test_clean_data_is_left_alone(digits_dataset: Dataset) -> None:
    result = scanned(digits_dataset.train)
    assert result.flagged.mean() <= 0.001
    assert not any(group.confirmed for group in result.groups)


def test_flipped_labels_are_found_by_disagreement(digits_dataset: Dataset) -> None:
    attacked = flip_labels(digits_dataset.train, 10, 0.05, seed=1)
    result = scanned(attacked.data)
    assert result.flagged[attacked.poisoned].mean() > 0.6
    assert result.flagged[~attacked.poisoned].mean() < 0.01
    assert result.wrong_labels == pytest.approx(attacked.poisoned.sum(), rel=0.5)


def test_a_contradicting_copy_is_flagged_and_a_small_class_is_not_tested(
    digits_dataset: Dataset,
) -> None:
    train = digits_dataset.train
    few = np.flatnonzero(train.labels == 9)[20:]
    kept = train.subset(np.setdiff1d(np.arange(len(train)), few))
    zero = int(np.flatnonzero(kept.labels == 0)[0])
    images = np.concatenate([kept.images, kept.images[zero : zero + 1]])
    result = scanned(ImageSet(images, np.append(kept.labels, 5)))
    (finding,) = [finding for finding in result.findings if finding.place == len(kept)]
    assert Reason.CONFLICTING_DUPLICATE in finding.reasons
    assert (finding.label, finding.shows) == ("5", "0")
    assert zero not in result.places, "the copy whose label fits stays"
    assert result.exact_duplicates == 1
    assert result.not_tested == {"class '9'": "20 images, fewer than 50"}


def test_what_is_flagged_can_be_dropped(
    backdoored: tuple[ScanResult, np.ndarray], digits_dataset: Dataset
) -> None:
    result, _ = backdoored
    index = CleanedIndex(digits_dataset.digest, len(digits_dataset.train), result.places)
    cleaned = index.apply(digits_dataset)
    assert len(cleaned.train) == len(digits_dataset.train) - len(result.findings)


def some(labels: list[int]) -> ImageSet:
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 8, 8), np.uint8)
    return ImageSet(images, np.array(labels, np.int64))


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        ([], "fewer than two classes"),
        ([3] * 100, "fewer than two classes"),
        ([0] * 60 + [10] * 60, "go from 0 to 10"),
        ([0] * 60 + [-1] * 60, "go from -1 to 0"),
        ([0] * 60 + [1] * 49, "1 class"),
    ],
)
def test_data_that_cannot_be_scanned_is_refused_before_any_training(
    labels: list[int], fault: str
) -> None:
    with pytest.raises(DataError, match=fault):
        scanned(some(labels))


@pytest.mark.parametrize(
    "change",
    [
        {"gap": 0},
        {"label_confidence": 1.5},
        {"neighbours": 0},
        {"fewest": 1},
        {"silhouette": 2},
        {"seed": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        replace(CONFIG, **change)
