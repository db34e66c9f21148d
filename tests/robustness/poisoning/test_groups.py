"""The three detectors of groups: they name what is there, and can say that nothing is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustness.art_library import prepare
from robustness.poisoning.neighbour_direction import discriminant_scores, suspect_directions
from robustness.poisoning.spectral_signatures import (
    benjamini_hochberg,
    robust_scores,
    spectral_scores,
    suspect_spectra,
)
from tests.robustness.poisoning.evidence import CLASSES, draw

prepare()

from art.defences.detector.poison import SpectralSignatureDefense  # noqa: E402 - after prepare()
from art.estimators.classification import PyTorchClassifier  # noqa: E402

from robustness.poisoning.activation_clustering import (  # noqa: E402
    split_classes,
    suspect_clusters,
)

LABELS = range(len(CLASSES))


@pytest.fixture(scope="module")
def any_classifier() -> PyTorchClassifier:
    return PyTorchClassifier(
        model=nn.Linear(4, len(CLASSES)),
        loss=nn.CrossEntropyLoss(),
        input_shape=(4,),
        nb_classes=len(CLASSES),
        device_type="cpu",
    )


@pytest.mark.parametrize("poisoned", [40, 200, 260])
def test_a_cluster_is_found_be_it_small_or_most_of_its_class(
    any_classifier: PyTorchClassifier, poisoned: int
) -> None:
    drawn = draw(poisoned=poisoned)
    splits = split_classes(any_classifier, drawn.evidence, LABELS, seed=0)
    (group,) = suspect_clusters(splits, drawn.evidence, silhouette=0.1, gap=0.2)
    assert group.label == 0
    assert set(group.members) == set(np.flatnonzero(drawn.poisoned))
    assert group.statistic > 0.5


def test_nothing_is_found_where_no_class_parts(any_classifier: PyTorchClassifier) -> None:
    evidence = draw().evidence
    splits = split_classes(any_classifier, evidence, LABELS, seed=0)
    assert all(split.silhouette < 0.1 for split in splits)
    assert suspect_clusters(splits, evidence, silhouette=0.1, gap=0.2) == []


def test_a_stricter_silhouette_finds_nothing(any_classifier: PyTorchClassifier) -> None:
    evidence = draw(poisoned=40).evidence
    splits = split_classes(any_classifier, evidence, LABELS, seed=0)
    assert suspect_clusters(splits, evidence, silhouette=0.99, gap=0.2) == []


def test_clusters_depend_on_the_seed_alone(any_classifier: PyTorchClassifier) -> None:
    evidence = draw(poisoned=100).evidence
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    first = split_classes(any_classifier, evidence, LABELS, seed=3)
    assert (np.random.get_state()[1] == state).all(), "NumPy's global generator is put back"
    np.random.seed(6)
    again = split_classes(any_classifier, evidence, LABELS, seed=3)
    assert all((a.clusters == b.clusters).all() for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("poisoned", [15, 60, 200])
def test_the_neighbours_point_at_poison_however_rare(poisoned: int) -> None:
    drawn = draw(poisoned=poisoned)
    (group,) = suspect_directions(drawn.evidence, LABELS, separation=2.5)
    assert group.label == 0
    assert set(group.members) == set(np.flatnonzero(drawn.poisoned))


def test_neighbours_that_agree_point_nowhere() -> None:
    assert suspect_directions(draw().evidence, LABELS, separation=2.5) == []


def test_a_discriminant_scores_what_it_was_not_fitted_on() -> None:
    features = np.random.default_rng(0).standard_normal((400, 30)).astype(np.float32)
    which = np.random.default_rng(1).random(400) < 0.3
    right = (discriminant_scores(features, which) > 0) == which
    assert abs(right.mean() - 0.5) < 0.12, "noise is not separable"


@pytest.mark.parametrize("poisoned", [40, 120, 400])
def test_spectral_outliers_are_the_poison(poisoned: int) -> None:
    drawn = draw(per_class=1000, poisoned=poisoned)
    (group,) = suspect_spectra(drawn.evidence, LABELS, false_discoveries=0.01)
    assert group.label == 0
    members = np.zeros(len(drawn.poisoned), np.bool_)
    members[group.members] = True
    assert members[drawn.poisoned].mean() >= 0.95
    assert members[~drawn.poisoned].mean() <= 0.01


@pytest.mark.parametrize("seed", range(5))
def test_a_clean_spectrum_has_no_outliers(seed: int) -> None:
    assert suspect_spectra(draw(seed=seed).evidence, LABELS, false_discoveries=0.01) == []


def test_one_class_alone_has_no_spectral_null() -> None:
    assert suspect_spectra(draw(poisoned=40).evidence, [0], false_discoveries=0.01) == []


def test_spectral_scores_are_arts() -> None:
    features = np.random.default_rng(0).standard_normal((300, 12)) * np.arange(1, 13)
    centred = features - features.mean(0)
    theirs = SpectralSignatureDefense.spectral_signature_scores(centred)[:, 0]
    assert np.allclose(spectral_scores(features), theirs, atol=1e-8)


def test_a_feature_that_never_changes_is_no_direction() -> None:
    features = torch.randn((100, 5), generator=torch.Generator().manual_seed(0)).numpy()
    features[:, 2] = 0
    assert np.isfinite(robust_scores(features)).all()
    assert np.isfinite(robust_scores(np.zeros((100, 5), np.float32))).all()


def test_benjamini_hochberg_rejects_as_in_the_paper() -> None:
    p_values = np.array([0.04, 0.0001, 0.9, 0.011, 0.013])
    assert benjamini_hochberg(p_values, 0.05).tolist() == [True, True, False, True, True]
    assert benjamini_hochberg(p_values, 0.01).tolist() == [False, True, False, False, False]
    assert not benjamini_hochberg(np.array([0.5, 0.9]), 0.01).any()
