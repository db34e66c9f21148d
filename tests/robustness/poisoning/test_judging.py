"""Label disagreement, copies, neighbours, and the judgement by a network without suspects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness.poisoning.duplicates import find_duplicates
from robustness.poisoning.evidence import Evidence
from robustness.poisoning.group import Group, Reason
from robustness.poisoning.label_disagreement import label_disagreement
from robustness.poisoning.neighbours import Neighbours, find_neighbours
from robustness.poisoning.reclassification import reclassify
from tests.conftest import quiet
from tests.robustness.poisoning.evidence import CLASSES, draw
from torchkeep.architectures import Classifier
from torchkeep.data import ImageSet


def unsure(evidence: Evidence, seed: int = 0) -> Evidence:
    """Return the evidence with held-out probabilities that vary as a network's do."""
    random = np.random.default_rng(seed)
    logits = np.log(evidence.held_out) + random.standard_normal(evidence.held_out.shape)
    odds = np.exp(logits)
    return replace(evidence, held_out=(odds / odds.sum(1, keepdims=True)).astype(np.float32))


def flip(evidence: Evidence, places: NDArray[np.int64]) -> Evidence:
    labels = evidence.labels.copy()
    labels[places] = (labels[places] + 1) % len(CLASSES)
    neighbours = Neighbours(evidence.neighbours.places, labels)
    return replace(evidence, labels=labels, neighbours=neighbours)


@pytest.mark.parametrize("count", [20, 100])
def test_wrong_labels_are_counted_and_found(count: int) -> None:
    places = np.random.default_rng(3).choice(2000, count, replace=False)
    found = label_disagreement(flip(unsure(draw(500).evidence), places), seed=0)
    assert found.wrong_labels == pytest.approx(count, rel=0.35)
    wrong = np.zeros(2000, np.bool_)
    wrong[places] = True
    assert (found.confidence[wrong] > 0.9).mean() > 0.8
    assert (found.confidence[~wrong] > 0.9).mean() < 0.002


def test_right_labels_are_not_doubted() -> None:
    found = label_disagreement(unsure(draw(500).evidence), seed=0)
    assert found.wrong_labels == 0
    assert not found.confidence.any()


def test_a_network_that_neighbours_do_not_back_is_not_believed() -> None:
    evidence = unsure(draw(500).evidence)
    doubting = evidence.held_out.copy()
    doubting[:50] = np.roll(doubting[:50], 1, axis=1)
    assert not label_disagreement(replace(evidence, held_out=doubting), seed=0).confidence.any()


def test_weak_networks_speak_against_no_label() -> None:
    evidence = unsure(draw(500).evidence)
    weak = evidence.held_out.copy()
    weak[:800] = np.roll(weak[:800], 1, axis=1)
    found = label_disagreement(replace(evidence, held_out=weak), seed=0)
    assert not found.tested
    assert not found.confidence.any()


def some_images(count: int = 300, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), np.uint8)


def test_neighbours_are_the_nearest_others() -> None:
    images = some_images()
    flat = images.reshape(len(images), -1).astype(float)
    distances = np.square(flat[:, None] - flat[None]).sum(2)
    np.fill_diagonal(distances, np.inf)
    found = find_neighbours(images, np.zeros(300, np.int64), 5, 0, quiet)
    exact = np.argsort(distances, axis=1)[:, :5]
    shared = [len(set(a) & set(b)) for a, b in zip(found.places, exact, strict=True)]
    assert np.mean(shared) > 3, "50 of 64 dimensions keep most neighbours"
    assert not (found.places == np.arange(300)[:, None]).any(), "nobody is its own neighbour"


def test_few_images_have_few_neighbours() -> None:
    found = find_neighbours(some_images(4), np.zeros(4, np.int64), 20, 0, quiet)
    assert found.places.shape == (4, 3)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = some_images(), np.zeros(300, np.int64)
    whole = find_neighbours(images, labels, 5, 0, quiet).places
    monkeypatch.setattr("robustness.poisoning.neighbours.BLOCK_VALUES", 300 * 7)
    np.testing.assert_array_equal(find_neighbours(images, labels, 5, 0, quiet).places, whole)


def test_beyond_a_number_neighbours_come_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustness.poisoning.neighbours.REFERENCES", 40)
    found = find_neighbours(some_images(), np.zeros(300, np.int64), 5, 0, quiet)
    assert len(np.unique(found.places)) <= 40
    assert not (found.places == np.arange(300)[:, None]).any()


def copies() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images of which 10 and 11 repeat 0 and 1 exactly, and 12 repeats 2 but for a dot."""
    images, labels = some_images(10), np.arange(10) % 3
    dotted = images[2:3].copy()
    dotted[..., 0, 0] ^= 63
    return np.concatenate([images, images[:2], dotted]), np.concatenate([labels, [0, 2, 1]])


def test_exact_and_near_copies_are_told_apart_and_contradictions_seen() -> None:
    images, labels = copies()
    found = find_duplicates(images, labels, find_neighbours(images, labels, 3, 0, quiet))
    assert (found.exact, found.near) == (2, 1)
    assert found.first.tolist() == [*range(10), 0, 1, 2]
    assert np.flatnonzero(found.conflicting).tolist() == [1, 2, 11, 12], "0 and 10 agree"


def test_images_without_copies_contradict_nothing() -> None:
    images = some_images(50)
    labels = np.arange(50) % 3
    found = find_duplicates(images, labels, find_neighbours(images, labels, 3, 0, quiet))
    assert (found.exact, found.near) == (0, 0)
    assert not found.conflicting.any()


class Refuser:
    """A learner that must not be asked."""

    def __call__(self, images: ImageSet, *, seed: int, step: str) -> Classifier:
        raise AssertionError("a training that nobody needs")


def test_without_suspects_nothing_is_trained() -> None:
    evidence = draw().evidence
    images = some_images(len(evidence))
    found = reclassify([], images, evidence, Refuser(), share=0.6, seed=0)
    assert found.judgements == ()
    assert not found.poisoned.any()


def test_a_group_that_leaves_nothing_of_its_class_is_not_judged() -> None:
    evidence = draw().evidence
    everybody = evidence.of_class(0)
    group = Group(Reason.ACTIVATION_CLUSTER, 0, everybody, everybody, 1.0)
    images = some_images(len(evidence))
    found = reclassify([group], images, evidence, Refuser(), share=0.6, seed=0)
    assert found.judgements == ()
