"""Batches are filled up to size classes, halved once when memory is short, and warmed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from handlers import forward as forward_file
from handlers.config import Compile, ServingConfig
from handlers.forward import MODEL_FAILED, OUT_OF_MEMORY, Forward, fill
from robustness.preprocessing.squeezing import Bits
from robustness.screened_model import ScreenedModel, load_screened_model
from tests.handlers.conftest import Bench, MakeBench
from tests.handlers.samples import npy
from torchkeep.artifact import ModelArtifact
from torchkeep.errors import SettingsError

FUZZ = settings(deadline=None, max_examples=200, derandomize=True)
Images = NDArray[np.uint8]

sizes = st.lists(st.integers(1, 300), min_size=1, max_size=8, unique=True).map(sorted)


@pytest.fixture
def model(digits_artifact: ModelArtifact) -> ScreenedModel:
    return load_screened_model(digits_artifact, "cpu")


class Compiled:
    """Stands for compiled code: the model as it is, which has no length, as torch's has none."""

    def __init__(self, model: ScreenedModel, seen: list[int]) -> None:
        self.model, self.seen = model, seen

    def __len__(self) -> int:
        raise TypeError("compiled code has no length")

    def __call__(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        table: Tensor = self.model(images)
        return table


@pytest.fixture
def compiled_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that reach what stands for compiled code."""
    seen: list[int] = []
    monkeypatch.setattr(forward_file, "_compiled", lambda model, *_: Compiled(model, seen))
    return seen


def of_memory(*failing: int) -> Callable[[Any], Any]:
    """Return a forward hook after which batches of these sizes find no memory."""

    def hook(module: Any, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) in failing:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return hook


@FUZZ
@given(sizes=sizes, batch=st.integers(1, 300), floats=st.booleans())
def test_a_batch_is_filled_up_to_the_next_size(sizes: list[int], batch: int, floats: bool) -> None:
    if batch > sizes[-1]:
        return
    images = np.full((batch, 1, 2, 2), 7, dtype=np.float32 if floats else np.uint8)
    filled = fill(images, sizes)
    assert len(filled) == min(size for size in sizes if size >= batch)
    assert filled.dtype == images.dtype
    np.testing.assert_array_equal(filled[:batch], images)
    assert not filled[batch:].any()


@FUZZ
@given(sizes=sizes, most=st.integers(1, 300))
def test_the_sizes_in_use_cover_every_batch_and_no_more(sizes: list[int], most: int) -> None:
    config = ServingConfig(size_classes=tuple(sizes))
    if sizes[-1] < most:
        with pytest.raises(SettingsError, match="max_forward_batch"):
            config.sizes_up_to(most)
        return
    used = config.sizes_up_to(most)
    assert list(used) == sizes[: len(used)]
    assert used[-1] >= most
    assert all(size < most for size in used[:-1])


def test_a_filled_batch_is_answered_as_it_is(
    model: ScreenedModel, images: Images, compiled_sizes: list[int]
) -> None:
    config = ServingConfig(compile=Compile.COMPILE, size_classes=(1, 8, 16))
    served = Forward(model, config, most=8)
    for count in (1, 2, 3, 4):
        (part,) = served.screen(images[:count])
        alone = model.screen(images[:count])
        assert part.items == count
        assert part.batch is not None
        for name in ("probabilities", "score", "p_value", "head_p_values", "embedding"):
            found = getattr(part.batch, name)
            np.testing.assert_allclose(found, getattr(alone, name), rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(part.batch.suspicious, alone.suspicious)
    assert compiled_sizes == [1, 8, 8, 8]


def test_every_size_that_may_come_is_warmed(
    model: ScreenedModel, compiled_sizes: list[int]
) -> None:
    config = ServingConfig(compile=Compile.COMPILE, size_classes=(1, 4, 16, 64))
    Forward(model, config, most=10).warm_up()
    assert compiled_sizes == [1, 4, 16]


def test_a_service_fills_up_what_it_serves(
    make_bench: MakeBench, images: Images, compiled_sizes: list[int]
) -> None:
    config = ServingConfig(compile=Compile.COMPILE, size_classes=(8, 256))
    bench = make_bench(serving=config)
    answer = bench.ask(npy(images))
    plain = make_bench().ask(npy(images))
    assert compiled_sizes == [8]
    for one, other in zip(answer["predictions"], plain["predictions"], strict=True):
        assert one["label"] == other["label"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-4)
    assert {record["batch_size"] for record in bench.records()} == {4}


def test_without_memory_a_batch_goes_through_in_halves(
    bench: Bench, images: Images, caplog: pytest.LogCaptureFixture
) -> None:
    five = np.concatenate([images, images[:1]])
    plain = bench.ask(npy(five))["predictions"]
    bench.model.register_forward_pre_hook(of_memory(5))
    answer = bench.ask(npy(five))["predictions"]
    for one, other in zip(answer, plain, strict=True):
        assert one["label"] == other["label"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
    assert [record["batch_size"] for record in bench.records()][5:] == [2, 2, 3, 3, 3]
    assert "no memory for a batch of 5" in caplog.text


def test_a_half_without_memory_costs_the_other_nothing(bench: Bench, images: Images) -> None:
    five = np.concatenate([images, images[:1]])
    bench.model.register_forward_pre_hook(of_memory(5, 3))
    answer = bench.ask(npy(five))["predictions"]
    assert [item["status"] for item in answer] == ["ok"] * 2 + ["error"] * 3
    assert {item["error"] for item in answer[2:]} == {OUT_OF_MEMORY}
    assert [record["status"] for record in bench.records()] == ["ok"] * 2 + ["error"] * 3


def test_a_batch_is_halved_once_and_no_more(bench: Bench, images: Images) -> None:
    tried: list[int] = []

    def hook(module: Any, inputs: tuple[Tensor]) -> None:
        tried.append(len(inputs[0]))
        raise torch.OutOfMemoryError("CUDA out of memory")

    bench.model.register_forward_pre_hook(hook)
    answer = bench.ask(npy(images))["predictions"]
    assert tried == [4, 2, 2]
    assert {item["error"] for item in answer} == {OUT_OF_MEMORY}
    tried.clear()
    assert bench.ask(npy(images[:1]))["predictions"][0]["error"] == OUT_OF_MEMORY
    assert tried == [1]


def test_halves_are_neither_filled_up_nor_compiled(
    model: ScreenedModel, images: Images, compiled_sizes: list[int]
) -> None:
    config = ServingConfig(compile=Compile.COMPILE, size_classes=(4,))
    model.register_forward_pre_hook(of_memory(4))
    parts = Forward(model, config, most=4).screen(images)
    assert [part.items for part in parts] == [2, 2]
    assert all(part.batch is not None for part in parts)
    assert compiled_sizes == [4]


def test_the_halves_find_the_memory_of_the_failed_attempt_free(
    model: ScreenedModel, images: Images
) -> None:
    held: list[weakref.ref[Tensor]] = []

    def hook(module: Any, inputs: tuple[Tensor]) -> None:
        gone = [reference for reference in held if reference() is None]
        assert len(gone) == len(held), "the failed batch is still in memory"
        if len(inputs[0]) == 4:
            held.append(weakref.ref(inputs[0]))
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(hook)
    gc.disable()
    try:
        parts = Forward(model, ServingConfig(), most=4).screen(images)
    finally:
        gc.enable()
    assert held
    assert [part.fault for part in parts] == ["", ""]


def test_any_other_failure_is_not_tried_again(
    model: ScreenedModel, images: Images, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[int] = []

    def hook(module: Any, inputs: tuple[Tensor]) -> None:
        tried.append(len(inputs[0]))
        raise RuntimeError("out of order")

    model.register_forward_pre_hook(hook)
    (part,) = Forward(model, ServingConfig(), most=4).screen(images)
    assert (part.items, part.batch, part.fault, tried) == (4, None, MODEL_FAILED, [4])
    assert "out of order" in caplog.text


def test_channels_last_changes_the_layout_and_not_the_answer(
    digits_artifact: ModelArtifact, model: ScreenedModel, images: Images
) -> None:
    turned = load_screened_model(digits_artifact, "cpu")
    served = Forward(turned, ServingConfig(channels_last=True), most=4)
    weights = [p for p in turned.classifier.parameters() if p.ndim == 4 and p.shape[1] > 1]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    (part,) = served.screen(images)
    assert part.batch is not None
    np.testing.assert_allclose(
        part.batch.probabilities, model.screen(images).probabilities, atol=1e-5
    )


def test_graphs_are_refused_without_cuda(model: ScreenedModel) -> None:
    with pytest.raises(SettingsError, match=r"cuda_graphs, and the model is on the cpu.*none"):
        Forward(model, ServingConfig(compile=Compile.CUDA_GRAPHS), most=4)


def test_a_model_whose_forward_pass_varies_is_not_compiled(model: ScreenedModel) -> None:
    model.preprocessing = Bits(4)
    with pytest.raises(SettingsError, match="cannot be compiled"):
        Forward(model, ServingConfig(compile=Compile.COMPILE), most=4)


def test_batches_beyond_the_largest_size_are_refused_at_the_start(model: ScreenedModel) -> None:
    config = ServingConfig(compile=Compile.COMPILE, size_classes=(1, 4))
    with pytest.raises(SettingsError, match="size_classes end at 4, and batches of up to 5"):
        Forward(model, config, most=5)
