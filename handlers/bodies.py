"""The three kinds of bodies; each decodes only the items it is asked for, one status an item."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from handlers.formats import IMAGES, Buffer, Format, sniff
from handlers.images import decode_image
from handlers.json_body import JsonDocument, decode_base64, decode_list
from handlers.npy import open_npy
from handlers.pixels import Expected, Image, check_floats, to_float32
from torchkeep.errors import ItemError
from torchkeep.schema import ItemStatus

logger = logging.getLogger(__name__)

Decoded = Image | ItemError
"""An image, or why there is none."""


class Body(Protocol):
    """The items of one request, not decoded yet."""

    def __len__(self) -> int: ...

    def format_of(self, index: int) -> Format | None:
        """Return how an item is encoded; None if it is nothing known."""

    def bytes_of(self, index: int) -> int:
        """Return the size of an item as received."""

    def decode(self, positions: Sequence[int]) -> list[Decoded]:
        """Decode the items at these positions; raises nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class TensorBody:
    """N C H W values that look into the body: raw uint8, npy, or a gateway's tensor."""

    images: NDArray[Any]
    format: Format

    def __len__(self) -> int:
        return len(self.images)

    def format_of(self, index: int) -> Format:
        return self.format

    def bytes_of(self, index: int) -> int:
        return int(self.images[0].nbytes)

    def decode(self, positions: Sequence[int]) -> list[Decoded]:
        chunk = self.images[list(positions)]
        if chunk.dtype == np.uint8:
            return list(chunk)
        floats = to_float32(chunk)
        faults = check_floats(floats)
        return [fault or image for fault, image in zip(faults, floats, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedBody:
    """One blob an item: an encoded image, or an npy of one image."""

    blobs: Sequence[Buffer]
    expected: Expected

    def __len__(self) -> int:
        return len(self.blobs)

    def format_of(self, index: int) -> Format | None:
        return sniff(self.blobs[index])

    def bytes_of(self, index: int) -> int:
        return len(self.blobs[index])

    def decode(self, positions: Sequence[int]) -> list[Decoded]:
        return [_shielded(decode_blob, self.blobs[p], self.expected) for p in positions]


@dataclass(frozen=True, slots=True, eq=False)
class JsonBody:
    """The instances of a JSON document; sizes are what an instance took of it on average."""

    document: JsonDocument
    size: int
    expected: Expected

    def __len__(self) -> int:
        return len(self.document.instances)

    def format_of(self, index: int) -> Format:
        return Format.JSON

    def bytes_of(self, index: int) -> int:
        return self.size // len(self)

    def decode(self, positions: Sequence[int]) -> list[Decoded]:
        instances = self.document.instances
        return [_shielded(self._decode_instance, instances[p]) for p in positions]

    def _decode_instance(self, instance: Any) -> Image:
        if isinstance(instance, dict):
            return decode_blob(decode_base64(instance), self.expected)
        return decode_list(instance, self.document.dtype, self.expected)


def decode_blob(blob: Buffer, expected: Expected) -> Image:
    """Decode one encoded image or an npy that holds one. Raises `ItemError`."""
    kind = sniff(blob)
    if kind in IMAGES:
        return decode_image(blob, kind, expected)
    if kind is not Format.NPY:
        raise ItemError(ItemStatus.UNSUPPORTED, "the item is no PNG, JPEG, WebP or npy")
    images = open_npy(blob, expected)
    if len(images) != 1:
        raise ItemError(ItemStatus.BAD_INPUT, f"the npy holds {len(images)} images; expected one")
    decoded = TensorBody(images, kind).decode([0])[0]
    if isinstance(decoded, ItemError):
        raise decoded
    return decoded


def _shielded(decode: Callable[..., Image], *arguments: Any) -> Decoded:
    """Decode one item; what it raises is its own fault and never its neighbours'."""
    try:
        return decode(*arguments)
    except ItemError as error:
        return error
    except Exception:
        logger.exception("an item could not be decoded")
        return ItemError(ItemStatus.ERROR, "the item could not be decoded")
