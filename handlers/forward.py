"""How a batch goes through the model: in which sizes, and what happens when memory is short.

Shapes: B items of the batch, P of the size class it is filled up to, C H W an image.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from handlers.config import Compile, ServingConfig
from handlers.cuda_faults import end_worker_if_fatal, is_out_of_memory
from handlers.cuda_graphs import record
from handlers.pixels import Images
from robustness.screened_model import ScreenedBatch, ScreenedModel
from torchkeep.errors import SettingsError

logger = logging.getLogger(__name__)

MODEL_FAILED = "the model failed on the batch of this item"
OUT_OF_MEMORY = "the memory of the server is too small for the batch of this item"


@dataclass(frozen=True, slots=True)
class Part:
    """A run of items of one batch that went through together, or why they did not."""

    items: int
    batch: ScreenedBatch | None
    fault: str = ""


class Forward:
    """The model as it is served: in its layout, compiled if so set, for batches of 1 to `most`."""

    def __init__(self, model: ScreenedModel, config: ServingConfig, *, most: int) -> None:
        """Take over the model; raises `SettingsError` if the settings do not fit it."""
        self._model = model
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self._filled: Sequence[int] = ()
        self._warm: Sequence[int] = (1,)
        if config.channels_last:
            model.classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if model.device.type == "cuda":
            self._warm = [size for size in config.size_classes if size <= most] or (1,)
        if config.compile is not Compile.NONE:
            _check_one_graph(model, config.compile)
            self._warm = self._filled = config.sizes_up_to(most)
            self._compiled = _compiled(model, config.compile, self._filled)

    def warm_up(self) -> None:
        """Run every batch size once, so that no request pays for it. Raises what that raises."""
        for size in self._warm:
            self._run(np.zeros((size, *self._model.input_shape), dtype=np.uint8))

    def screen(self, images: Images) -> list[Part]:
        """Screen B C H W images as one part; in two halves, once, if memory is short.

        Raises nothing; a fatal error of the GPU ends the process.
        """
        whole = _attempt(self._run, images)
        if whole.fault != OUT_OF_MEMORY or len(images) == 1:
            return [whole]
        logger.warning("no memory for a batch of %d: it is tried in halves", len(images))
        middle = len(images) // 2
        # not filled up, which would make them as large again
        return [_attempt(self._model.screen, half) for half in (images[:middle], images[middle:])]

    def _run(self, images: Images) -> ScreenedBatch:
        if self._compiled is None:
            return self._model.screen(images)
        filled = fill(images, self._filled)
        return self._model.screen(filled, self._compiled).first(len(images))


def fill(images: Images, sizes: Sequence[int]) -> Images:
    """Fill up B C H W images with black ones to the next of the rising sizes: P C H W."""
    size = next(size for size in sizes if size >= len(images))
    if size == len(images):
        return images
    filled = np.zeros((size, *images.shape[1:]), dtype=images.dtype)
    filled[: len(images)] = images
    return filled


def _attempt(run: Callable[[Images], ScreenedBatch], images: Images) -> Part:
    """Try it once. When this has returned, what the attempt held in memory is free again."""
    try:
        return Part(len(images), run(images))
    except Exception as error:
        end_worker_if_fatal(error)
        if is_out_of_memory(error):
            return Part(len(images), None, OUT_OF_MEMORY)
        logger.exception("the model failed on a batch of %d", len(images))
        return Part(len(images), None, MODEL_FAILED)


def _check_one_graph(model: ScreenedModel, kind: Compile) -> None:
    """Raise `SettingsError` if the forward pass of the model is not the same for every batch."""
    if kind is Compile.CUDA_GRAPHS and model.device.type != "cuda":
        raise SettingsError(
            f"[serving] compile is {kind}, and the model is on the {model.device.type}",
            remedy='Choose "none" or "compile".',
        )
    if model.second_look is not None or model.preprocessing is not None:
        raise SettingsError(
            f"[serving] compile is {kind}, and the model has preprocessing or a second look, "
            "which cannot be compiled",
            remedy='Choose "none".',
        )


def _compiled(
    model: ScreenedModel, kind: Compile, sizes: Sequence[int]
) -> Callable[[Tensor], Tensor]:
    if kind is Compile.CUDA_GRAPHS:
        return record(model, sizes, model.input_shape, model.device)
    compiled: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False)
    return compiled
