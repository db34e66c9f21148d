"""Recipes are whole, name their papers, and refuse numbers that make no training."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import short
from torchkeep.architectures import build
from torchkeep.errors import SettingsError
from torchkeep.image_shape import ImageShape
from training.config import Execution, Optimisation, Precision, Watch
from training.objectives.adversarial import Adversarial
from training.order import Order
from training.overfitting_probe import collapsed
from training.recipes import NAMES, recipe
from training.schedule import ramp, triangular_rate


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_names_its_paper_and_builds(name: str) -> None:
    config = recipe(name)
    assert config.recipe == name
    assert "20" in config.source
    shape = ImageShape(channels=3, height=32, width=32)
    build(config.architecture, shape, 10, config.options)
    assert orjson.loads(orjson.dumps(config.to_json()))["objective"]["kind"]


@pytest.mark.parametrize(("subject", "attacks"), [("mnist", True), ("digits", False)])
def test_only_intervals_tell_the_best_epoch_of_a_network_for_intervals(
    subject: str, attacks: bool
) -> None:
    config = recipe(f"{subject}-ibp")
    assert (config.objective.attack_steps(0) > 0) is attacks
    assert config.watch.keep_best is not attacks


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'mnist-quick'"):
        recipe("mnist-quik")


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"seed": -1}, {"evaluation_images": 0}]
)
def test_numbers_that_make_no_training_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        short(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Optimisation(peak_learning_rate=0.0),
        lambda: Optimisation(peak_learning_rate=float("nan")),
        lambda: Optimisation(peak_learning_rate=1.0, weight_perturbation=float("inf")),
        lambda: Optimisation(peak_learning_rate=1.0, peak_at=1.0),
        lambda: Optimisation(peak_learning_rate=1.0, averaging=1.0),
        lambda: Watch(gap=0.0),
        lambda: Watch(images=0),
        lambda: Execution(accumulate=0),
        lambda: Execution(resident_bytes=-1),
    ],
)
def test_parts_that_make_no_training_are_refused(wrong: type) -> None:
    with pytest.raises(SettingsError):
        wrong()


def test_an_order_changes_what_it_names_and_nothing_else() -> None:
    order = Order(
        recipe="digits-trades", seed=3, epochs=4, batch_size=10, precision=Precision.BFLOAT16
    )
    config = order.config()
    assert (config.seed, config.epochs, config.batch_size) == (3, 4, 10)
    assert config.execution.precision is Precision.BFLOAT16
    back = replace(config, seed=0, epochs=20, batch_size=50, execution=Execution())
    assert back == recipe("digits-trades")
    assert Order(recipe="digits-trades").config() == recipe("digits-trades")


def test_another_radius_makes_attack_steps_longer_with_it() -> None:
    plain, half = (Order(recipe="digits-pgd", eps=eps).config() for eps in (None, 0.1))
    assert isinstance(plain.objective, Adversarial)
    assert isinstance(half.objective, Adversarial)
    assert half.threat_model.eps == plain.threat_model.eps / 2
    assert half.objective.step_size == pytest.approx(plain.objective.step_size / 2)


@pytest.mark.parametrize("eps", [0.0, -0.1, 1.1, float("nan"), float("inf")])
def test_a_radius_outside_its_bounds_is_refused(eps: float) -> None:
    with pytest.raises(SettingsError):
        Order(recipe="digits-pgd", eps=eps).config()


def test_the_digest_tells_what_weights_depend_on() -> None:
    def digest(**changes: object) -> str:
        return replace(recipe("digits-quick"), **changes).digest()  # type: ignore[arg-type]

    plain = digest()
    assert digest(seed=1) != plain
    assert digest(execution=Execution(precision=Precision.BFLOAT16)) != plain
    assert digest(execution=Execution(checkpoint_steps=3)) == plain
    assert digest(evaluation_images=3) == plain


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [triangular_rate(step, 100, 2.0, 0.4) for step in range(101)]
    assert (rates[0], max(rates), rates[40], rates[100]) == (0, 2, 2, 0)
    assert all(after > before for before, after in pairwise(rates[:41]))
    assert all(after < before for before, after in pairwise(rates[40:]))


@given(st.floats(0, 1), st.floats(0, 0.99))
def test_a_ramp_grows_to_one(done: float, until: float) -> None:
    share = ramp(done, until)
    assert 0 <= share <= 1
    assert (share == 1) == (done >= until)


def test_a_collapse_is_a_fall_or_a_gap() -> None:
    watch = Watch(fall=0.2, gap=0.65)

    def judged(one_step: float, pgd: float, best: float) -> bool:
        accuracies = {"one_step_accuracy": one_step, "pgd_accuracy": pgd}
        return collapsed(accuracies, best, watch)

    assert not judged(0.9, 0.4, 0.4)
    assert judged(0.9, 0.1, -1.0)
    assert judged(0.5, 0.3, 0.6)
