"""Settings of the handler: what it takes in, and what it does with what screening finds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from torchkeep.dtype import Dtype
from torchkeep.errors import SettingsError
from torchkeep.image_shape import MAX_PIXELS
from torchkeep.schema import Disclose, Policy

MIB = 1024 * 1024
MAX_BODY_BYTES = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """Section `[limits]`: all are checked before anything is decoded.

    `max_json_bytes` is lower than `max_bytes` because parsed JSON takes up to 40 times its size.
    `max_forward_batch` bounds memory: a call with more items takes several forward passes.
    `explain_steps` trades the time of an explanation for its accuracy; with `max_explain_items` 0
    nothing is explained, because attributions also help an attacker.
    """

    max_items: int = 10_000
    max_bytes: int = 64 * MIB
    max_json_bytes: int = 8 * MIB
    max_pixels: int = MAX_PIXELS
    max_forward_batch: int = 256
    max_explain_items: int = 16
    explain_steps: int = 32

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "max_explain_items" else 1
            if value < least:
                raise SettingsError(
                    f"[limits] {field.name} is {value}", remedy=f"Give {least} or more."
                )
        if self.max_bytes > MAX_BODY_BYTES:
            raise SettingsError(
                f"[limits] max_bytes is {self.max_bytes}", remedy=f"Give at most {MAX_BODY_BYTES}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningConfig:
    """Section `[screening]`: what is done with a suspicious item, and how much of it is told."""

    policy: Policy = Policy.FLAG
    disclose: Disclose = Disclose.VERDICT


class Compile(StrEnum):
    """What is made of the forward pass before the worker serves."""

    NONE = "none"
    COMPILE = "compile"  # `torch.compile`: fused kernels
    CUDA_GRAPHS = "cuda_graphs"  # recorded kernels, launched as one


MAX_SIZE_CLASSES = 8
"""As many as `torch.compile` makes code for; beyond, it would quietly stop compiling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfig:
    """Section `[serving]`: how the network computes.

    Compiled code fits one batch size: a batch is filled up to the next of `size_classes`.
    """

    dtype: Dtype = Dtype.FLOAT32
    channels_last: bool = False
    compile: Compile = Compile.NONE
    size_classes: tuple[int, ...] = (1, 4, 16, 64, 256)

    def __post_init__(self) -> None:
        sizes = self.size_classes
        whole = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
        if not whole or not 1 <= len(sizes) <= MAX_SIZE_CLASSES or min(sizes) < 1:
            raise SettingsError(
                f"[serving] size_classes is {list(sizes)}",
                remedy=f"Give 1 to {MAX_SIZE_CLASSES} batch sizes, such as [1, 4, 16, 64, 256].",
            )
        if list(sizes) != sorted(set(sizes)):
            raise SettingsError(
                f"[serving] size_classes is {list(sizes)}", remedy="Give them in rising order."
            )

    def sizes_up_to(self, most: int) -> tuple[int, ...]:
        """Return the size classes of batches of 1 to `most` items.

        Raises `SettingsError` if none is as large as that.
        """
        if self.size_classes[-1] < most:
            raise SettingsError(
                f"[serving] size_classes end at {self.size_classes[-1]}, and batches of up to "
                f"{most} are served",
                remedy="Add a larger one, or lower [limits] max_forward_batch.",
            )
        needed = 1 + sum(size < most for size in self.size_classes)
        return self.size_classes[:needed]
