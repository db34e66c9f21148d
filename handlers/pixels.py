"""Pixels: what the model expects, what decoders give, and how they are checked and joined.

Shapes: N items, C H W an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.config import LimitsConfig
from torchkeep.errors import ItemError
from torchkeep.schema import ItemStatus

Image = NDArray[np.uint8] | NDArray[np.float32]
"""One decoded item, C H W: uint8 in 0..255 or float32 in 0..1."""
Images = NDArray[np.uint8] | NDArray[np.float32]
"""Several of them, N C H W."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The shape the model takes, and the limits in force."""

    shape: tuple[int, int, int]  # C H W
    limits: LimitsConfig

    @property
    def values(self) -> int:
        """Numbers in one image."""
        channels, height, width = self.shape
        return channels * height * width

    def check_items(self, count: int) -> None:
        """Raise `ItemError` unless a request may have this many items."""
        if count == 0:
            raise ItemError(ItemStatus.BAD_INPUT, "the request has no items")
        if count > self.limits.max_items:
            raise ItemError(
                ItemStatus.TOO_LARGE,
                f"the request has {count} items; at most {self.limits.max_items} are taken",
            )


def sides(shape: tuple[int, ...]) -> str:
    """Return a shape for a message: `1 × 28 × 28`."""
    return " × ".join(map(str, shape)) or "a single number"


def to_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return floats of any size and byte order as float32; what does not fit becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def to_unit_floats(images: Images) -> NDArray[np.float32]:
    """Scale uint8 to 0..1; floats stay as they are."""
    floats: NDArray[np.float32] = images.astype(np.float32, copy=False)
    return floats / np.float32(255) if images.dtype == np.uint8 else floats


def stack(images: Sequence[Image]) -> Images:
    """Join images to N C H W; where dtypes are mixed, all become floats."""
    if len({image.dtype for image in images}) > 1:
        images = [to_unit_floats(image) for image in images]
    # joined along C and cut again: much cheaper than `np.stack`
    joined: Images = np.concatenate(images)  # type: ignore[assignment]  # mypy forgets the dtypes
    return joined.reshape(len(images), *images[0].shape)


def check_floats(images: NDArray[np.float32]) -> list[ItemError | None]:
    """Return for each of N C H W images what is wrong with its values, or None."""
    flat = images.reshape(len(images), -1)
    inside = np.all((flat >= 0) & (flat <= 1), axis=1).tolist()  # a NaN compares false
    return [None if good else _fault(row) for good, row in zip(inside, flat, strict=True)]


def _fault(values: NDArray[np.float32]) -> ItemError:
    if not np.isfinite(values).all():
        return ItemError(ItemStatus.BAD_INPUT, "pixels are NaN or infinite; expected 0 to 1")
    low, high = values.min(), values.max()
    return ItemError(
        ItemStatus.BAD_INPUT,
        f"pixels lie in {low:g} to {high:g}; expected 0 to 1 for floats (or send uint8)",
    )
