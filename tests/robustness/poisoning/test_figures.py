"""The figures of docs/poisoning.md: MNIST, ART's backdoors, 12,000 training images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustness.art_library import prepare
from robustness.poisoning.config import ScanConfig
from tests.conftest import quiet
from torchkeep.cli.poison_learner import learner, scan_recipe
from torchkeep.data import DataConfig, Dataset, load_dataset
from torchkeep.settings import Settings

prepare()

from robustness.poisoning.trials import (  # noqa: E402 - after prepare()
    Attack,
    Plan,
    Trial,
    plans,
    try_out,
)

IMAGES = 12_000

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return load_dataset("mnist", config=Settings.load().section("data", DataConfig))


def tried(plan: Plan, mnist: Dataset) -> Trial:
    data = mnist.train.subset(np.random.default_rng(0).permutation(len(mnist.train))[:IMAGES])
    learn = learner(scan_recipe(None, 1), 10, torch.device("cpu"), quiet)
    return try_out(plan, data, mnist.test, mnist.classes, ScanConfig(), learn, quiet)


def told(plan: Plan) -> str:
    return f"{plan.attack}-{plan.trigger}-{plan.share}-{plan.seed}"


def of(attack: Attack) -> list[Plan]:
    return [plan for plan in plans(every_share=True) if plan.attack is attack]


@pytest.mark.parametrize("plan", of(Attack.BACKDOOR), ids=told)
def test_a_dirty_label_backdoor_is_found_and_gone_after_the_drop(
    plan: Plan, mnist: Dataset
) -> None:
    trial = tried(plan, mnist)
    assert trial.found_rate is not None
    assert trial.found_rate >= 0.95
    assert trial.clean_rate <= 0.01
    assert trial.success_before is not None
    assert trial.success_after is not None
    assert trial.success_before > 0.9
    assert trial.success_after < 0.05
    assert trial.accuracy_after > trial.accuracy_before - 0.01


@pytest.mark.parametrize("plan", of(Attack.NONE), ids=told)
def test_clean_data_is_left_alone(plan: Plan, mnist: Dataset) -> None:
    assert tried(plan, mnist).clean_rate <= 0.001


@pytest.mark.parametrize("plan", of(Attack.LABEL_FLIPS), ids=told)
def test_flipped_labels_are_mostly_found(plan: Plan, mnist: Dataset) -> None:
    trial = tried(plan, mnist)
    assert trial.found_rate is not None
    assert trial.found_rate > 0.6
    assert trial.clean_rate <= 0.005
