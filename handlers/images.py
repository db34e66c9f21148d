"""PNG, JPEG and WebP: the size in the header is checked before a pixel is decoded."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from handlers.formats import Buffer, Format
from handlers.pixels import Expected
from torchkeep.errors import ItemError
from torchkeep.schema import ItemStatus

_READERS: dict[Format, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    Format.PNG: PngImagePlugin.PngImageFile,
    Format.JPEG: JpegImagePlugin.JpegImageFile,
    Format.WEBP: WebPImagePlugin.WebPImageFile,
}
_MODES = {1: "L", 3: "RGB"}
_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})


def decode_image(data: Buffer, kind: Format, expected: Expected) -> NDArray[np.uint8]:
    """Decode one encoded image to uint8 C H W, in grey or RGB as the model takes.

    Raises `ItemError` if it is too large, has another size, is damaged, animated or transparent.
    """
    channels = expected.shape[0]
    if channels not in _MODES:
        raise ItemError(
            ItemStatus.UNSUPPORTED,
            f"the model takes {channels} channels; send a raw or npy tensor, not {_name(kind)}",
        )
    try:
        if kind is Format.WEBP:
            _check_size(_webp_size(bytes(data[:30])), kind, expected)
        image = _READERS[kind](io.BytesIO(data))
        _check_size(image.size, kind, expected)
        _check_content(image, kind)
        pixels = np.asarray(_opaque(image, kind).convert(_MODES[channels]))
    except ItemError:
        raise
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        raise ItemError(
            ItemStatus.BAD_INPUT, f"the {_name(kind)} image is truncated or damaged"
        ) from error
    return np.ascontiguousarray(pixels.reshape(*expected.shape[1:], channels).transpose(2, 0, 1))


def _name(kind: Format) -> str:
    return "WebP" if kind is Format.WEBP else kind.upper()


def _webp_size(head: bytes) -> tuple[int, int]:
    """Return width and height from the first 30 bytes: the decoder allocates when it is made.

    Layout: RFC 9649. Raises `ValueError` if the file is shorter.
    """
    chunk = head[12:16]
    if len(head) < (25 if chunk == b"VP8L" else 30):
        raise ValueError("a WebP without a whole header")
    if chunk == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = head[26:28], head[28:30]
    return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF


def _check_size(size: tuple[int, int], kind: Format, expected: Expected) -> None:
    width, height = size
    if width * height > expected.limits.max_pixels:
        raise ItemError(
            ItemStatus.TOO_LARGE,
            f"the {_name(kind)} image has {height} × {width} pixels; "
            f"at most {expected.limits.max_pixels} in all are taken",
        )
    if (height, width) != expected.shape[1:]:
        raise ItemError(
            ItemStatus.BAD_INPUT,
            f"the {_name(kind)} image has {height} × {width} pixels (height × width); "
            f"expected {expected.shape[1]} × {expected.shape[2]}",
        )


def _check_content(image: Image.Image, kind: Format) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise ItemError(
            ItemStatus.BAD_INPUT, f"the {_name(kind)} has {frames} frames; expected a still image"
        )
    if image.mode not in _EIGHT_BIT:
        raise ItemError(
            ItemStatus.BAD_INPUT,
            f"the {_name(kind)} image is of mode {image.mode}; expected 8 bits a channel",
        )


def _opaque(image: Image.Image, kind: Format) -> Image.Image:
    """Return the image if no pixel is transparent: people and model would see different images."""
    if not image.has_transparency_data:
        return image
    layers = image.convert("RGBA")
    if layers.getchannel("A").getextrema() != (255, 255):
        raise ItemError(
            ItemStatus.BAD_INPUT,
            f"the {_name(kind)} image has transparent pixels; expected an opaque one",
        )
    return layers.convert("RGB")
