"""Attacks that know the detectors: stronger than those that do not, and honest in their claims."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from robustness.adaptive.catalogue import ADAPTIVE, budget, build_adaptive
from robustness.adaptive.joint_model import JointModel
from robustness.attacks.apgd import APGD
from robustness.attacks.catalogue import Effort, build
from robustness.attacks.perturbation import within
from robustness.fitting import to_unit
from robustness.screened_model import ScreenedModel, load_screened_model
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits
from torchkeep.errors import SettingsError
from torchkeep.threat_model import Epsilon, Norm, PatchThreat, ThreatModel

LINF = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.2))
COUNT = 40


@pytest.fixture(scope="module")
def screened(digits_artifact: ModelArtifact) -> ScreenedModel:
    return load_screened_model(digits_artifact, "cpu")


@pytest.fixture(scope="module")
def scene(screened: ScreenedModel, digits: Splits) -> tuple[Tensor, Tensor]:
    """Images that the model gets right and accepts."""
    images, labels = to_unit(digits.test), torch.from_numpy(digits.test.labels)
    right = screened.classifier(images).argmax(1) == labels
    chosen = torch.nonzero(right & JointModel(screened).accepted(images)).flatten()[:COUNT]
    return images[chosen], labels[chosen]


def with_threshold(screened: ScreenedModel, threshold: float) -> JointModel:
    other = copy.copy(screened)
    other.threshold = threshold
    return JointModel(other)


def make(name: str, *, effort: Effort = Effort.QUICK, seed: int = 0) -> Any:
    return build_adaptive(name, LINF, seed=seed, effort=effort)


@pytest.mark.parametrize("name", list(ADAPTIVE))
def test_an_attack_wins_where_it_says_and_beats_one_that_does_not_know(
    name: str, screened: ScreenedModel, scene: tuple[Tensor, Tensor]
) -> None:
    images, labels = scene
    joint = JointModel(screened)
    result = make(name)(joint, images, labels)
    served = screened.screen(result.images.numpy())
    wrong = torch.from_numpy(served.probabilities.argmax(1)) != labels
    assert torch.equal(result.successful, wrong & ~torch.from_numpy(served.suspicious))
    assert within(images, result.images, LINF).all()
    naive = build("pgd", LINF, effort=Effort.QUICK)(screened.classifier, images, labels)
    unseen = naive.successful & joint.accepted(naive.images)
    if name in ("joint", "orthogonal"):
        assert result.successful.sum() > unseen.sum()
    assert result.successful.any()


def test_the_joint_attack_turns_most_of_what_can_be_turned_at_all(
    screened: ScreenedModel, scene: tuple[Tensor, Tensor]
) -> None:
    images, labels = scene
    bare = APGD(threat=LINF)(screened.classifier, images, labels).successful
    won = make("joint", effort=Effort.STANDARD)(JointModel(screened), images, labels).successful
    assert won.sum() >= 0.7 * bare.sum()


@pytest.mark.parametrize("name", list(ADAPTIVE))
def test_nothing_wins_where_everything_is_flagged(
    name: str, screened: ScreenedModel, scene: tuple[Tensor, Tensor]
) -> None:
    images, labels = scene[0][:8], scene[1][:8]
    assert not make(name)(with_threshold(screened, -1.0), images, labels).successful.any()


def test_with_the_detectors_off_it_is_an_ordinary_attack(
    screened: ScreenedModel, scene: tuple[Tensor, Tensor]
) -> None:
    images, labels = scene
    off = with_threshold(screened, 1e9)
    won = make("joint", effort=Effort.STANDARD)(off, images, labels).successful
    bare = APGD(threat=LINF)(screened.classifier, images, labels).successful
    assert won.sum() >= bare.sum() - 1


@pytest.mark.parametrize("name", list(ADAPTIVE))
def test_the_same_seed_gives_the_same_images(
    name: str, screened: ScreenedModel, scene: tuple[Tensor, Tensor]
) -> None:
    images, labels = scene[0][:10], scene[1][:10]
    joint, before = JointModel(screened), torch.random.get_rng_state()
    one, two = (make(name, seed=4)(joint, images, labels).images for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(before, torch.random.get_rng_state())
    none = make(name)(joint, images[:0], labels[:0])
    assert none.images.shape == (0, *images.shape[1:])


@pytest.mark.parametrize("name", ["joint", "orthogonal"])
def test_a_start_that_has_won_is_kept(
    name: str, screened: ScreenedModel, scene: tuple[Tensor, Tensor]
) -> None:
    images, labels = scene
    joint = JointModel(screened)
    found = make("joint")(joint, images, labels)
    won = torch.nonzero(found.successful).flatten()[:5]
    attack = replace(make(name), starts=found.images[won])
    assert attack(joint, images[won], labels[won]).successful.all()


def test_guides_are_imitated(
    screened: ScreenedModel, scene: tuple[Tensor, Tensor], digits: Splits
) -> None:
    images, labels = scene
    guides = digits.train.subset(range(100))
    attack = build_adaptive(
        "feature-matching",
        LINF,
        effort=Effort.STANDARD,
        guides=to_unit(guides),
        guide_labels=torch.from_numpy(guides.labels),
    )
    assert attack(JointModel(screened), images, labels).successful.any()


def test_what_cannot_be_done_is_refused(
    screened: ScreenedModel, scene: tuple[Tensor, Tensor]
) -> None:
    images, labels = scene[0][:2], scene[1][:2]
    with pytest.raises(SettingsError, match="JointModel"):
        make("joint")(screened.classifier, images, labels)
    with pytest.raises(SettingsError, match="Did you mean joint"):
        build_adaptive("joit", LINF)
    with pytest.raises(SettingsError, match="Give a norm"):
        build_adaptive("joint", PatchThreat(share=0.1))
    assert budget(make("joint"))["steps"] == 30
