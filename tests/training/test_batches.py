"""Every image of an epoch is learnt once, by one process, in an order that a seed decides."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import CPU, few, short
from torchkeep.data import Splits
from torchkeep.errors import SettingsError
from training.batches import (
    HostSource,
    Plan,
    ResidentSource,
    Waiting,
    prefetched,
    source_of,
)
from training.config import Execution
from training.distributed import World


def world_of(size: int, rank: int = 0) -> World:
    return World(rank=rank, size=size, device=CPU)


def plan(images: int, batch: int, size: int = 1, rank: int = 0, seed: int = 0) -> Plan:
    return Plan(images=images, batch=batch, epochs=3, seed=seed, world=world_of(size, rank))


@given(
    size=st.integers(1, 5),
    share=st.integers(1, 7),
    batches=st.integers(1, 4),
    left=st.integers(0, 6),
    seed=st.integers(0, 2**62),
)
def test_the_processes_share_each_batch_of_an_epoch(
    size: int, share: int, batches: int, left: int, seed: int
) -> None:
    batch = size * share
    images = batch * batches + min(left, batch - 1)
    parts = [plan(images, batch, size, rank, seed).epoch(1) for rank in range(size)]
    whole = plan(images, batch, seed=seed).epoch(1)
    assert len(whole) == batches
    for number, together in enumerate(whole):
        assert np.array_equal(np.concatenate([part[number] for part in parts]), together)
    seen = np.concatenate(whole)
    assert len(np.unique(seen)) == len(seen) == batch * batches
    assert seen.min() >= 0
    assert seen.max() < images


def test_epochs_and_seeds_differ_and_repeat() -> None:
    one, two = plan(100, 10).epoch(1), plan(100, 10).epoch(2)
    assert not np.array_equal(np.concatenate(one), np.concatenate(two))
    assert np.array_equal(np.concatenate(one), np.concatenate(plan(100, 10).epoch(1)))
    other = plan(100, 10, seed=1).epoch(1)
    assert not np.array_equal(np.concatenate(one), np.concatenate(other))


@pytest.mark.parametrize(
    ("batch", "images", "size", "pieces"), [(50, 200, 4, 1), (50, 200, 2, 2), (50, 3, 4, 1)]
)
def test_a_batch_that_does_not_divide_is_refused(
    batch: int, images: int, size: int, pieces: int
) -> None:
    config = replace(short(), batch_size=batch, execution=Execution(accumulate=pieces))
    with pytest.raises(SettingsError, match="does not divide among"):
        Plan.of(config, images, world_of(size))


def test_few_images_make_a_smaller_batch() -> None:
    made = Plan.of(short(batch_size=50), 31, world_of(2))
    assert (made.batch, made.epoch_steps, made.steps) == (30, 1, 2)


def test_both_sources_give_the_same_images(digits: Splits) -> None:
    images = few(digits.train, 50)
    indices = np.array([7, 3, 49])
    assert isinstance(source_of(images, CPU, images.images.nbytes), ResidentSource)
    assert isinstance(source_of(images, CPU, images.images.nbytes - 1), HostSource)
    for source in (ResidentSource(images, CPU), HostSource(images, CPU)):
        pixels, labels = source.gather(indices)
        assert np.array_equal(pixels.numpy(), images.images[indices])
        assert np.array_equal(labels.numpy(), images.labels[indices])
        assert pixels.dtype == torch.uint8


def test_batches_come_in_order_one_ahead_and_leave_no_thread(digits: Splits) -> None:
    source = ResidentSource(few(digits.train, 50), CPU)
    waiting = Waiting()
    chosen = [np.array([index]) for index in range(5)]
    got = [labels.item() for _, labels in prefetched(source, chosen, waiting)]
    assert got == digits.train.labels[:5].tolist()
    assert waiting.seconds > 0
    broken_off = prefetched(source, chosen, waiting)
    next(broken_off)
    broken_off.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
    assert list(prefetched(source, [], waiting)) == []
