"""What an evaluation keeps: whole files, read back as written, and damage that is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.evaluation.plan import CLEAN, Kind, Plan, Task
from robustness.evaluation.store import Store
from tests.robustness.evaluation.made_up import MadeUp, plan_of
from torchkeep.errors import DataError, SettingsError

PGD = Task(key="linf-0.3.pgd", kind=Kind.ATTACK, name="pgd", title="PGD", threat="linf 0.3")


@settings(deadline=None, max_examples=50, derandomize=True)
@given(n=st.integers(1, 500), block=st.integers(1, 120), limit=st.integers(0, 600))
def test_blocks_hold_every_image_once(n: int, block: int, limit: int) -> None:
    plan = plan_of([PGD], n=n, block=block)
    held = [place for number in plan.blocks for place in range(n)[plan.places(number)]]
    assert held == list(range(n))
    few = Task(key="few", kind=Kind.ATTACK, name="pgd", title="few", images=limit)
    assert sum(plan.images_of(few, number) for number in plan.blocks) == min(n, limit)


def test_a_plan_is_read_back_as_it_was_and_its_digest_tells_plans_apart() -> None:
    plan = plan_of([PGD])
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.digest() == Plan.from_json(plan.to_json()).digest()
    assert plan_of([PGD], n=41).digest() != plan.digest()


def test_seeds_differ_between_tasks_and_blocks_and_stay_the_same() -> None:
    other = Task(key="other", kind=Kind.ATTACK, name="pgd", title="PGD")
    plan = plan_of([PGD, other])
    seeds = [plan.seed_of(task, block) for task in plan.tasks for block in plan.blocks]
    assert len(set(seeds)) == len(seeds)
    assert seeds == [plan.seed_of(task, block) for task in plan.tasks for block in plan.blocks]


@pytest.mark.parametrize("wrong", [{"n": 0}, {"block": 0}])
def test_a_plan_without_images_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="1 or more"):
        plan_of([PGD], **wrong)


def test_columns_come_back_in_the_order_of_the_images(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random(40).astype(np.float32)
    results = MadeUp(scores={PGD.key: scores}).results([PGD], tmp_path)
    assert np.array_equal(results.of(PGD.key)["score"], scores)
    assert results.store.seconds(PGD) == len(results.plan.blocks)
    assert "images" not in results.of(PGD.key)
    assert results.images(PGD, 17).shape == (1, 4, 4)


def test_an_array_that_is_a_transposed_view_is_kept_as_it_reads(tmp_path: Path) -> None:
    store = MadeUp().results([PGD], tmp_path).store
    view = np.arange(12.0).reshape(3, 4).T
    store.write(PGD, 0, {"view": view}, 0.5)
    assert np.array_equal(store.read_block(PGD, 0)["view"], view)


def test_a_store_is_opened_again_and_damage_is_named(tmp_path: Path) -> None:
    store = MadeUp().results([PGD], tmp_path).store
    assert Store.open(tmp_path).plan == store.plan
    path = store.path(PGD, 1)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="only that block is repeated"):
        Store.open(tmp_path).read(PGD)
    path.unlink()
    assert not store.done(PGD, 1)
    assert store.done(store.plan.by_key[CLEAN], 1)
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(DataError, match="the plan of an evaluation"):
        Store.open(tmp_path)
