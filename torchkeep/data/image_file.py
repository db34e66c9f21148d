"""One image file, opened with Pillow and measured before anything is decoded."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from torchkeep.data.config import Caps
from torchkeep.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP")
_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


@contextmanager
def opened_image(
    path: Path, caps: Caps, formats: tuple[str, ...] = FORMATS
) -> Iterator[Image.Image]:
    """Yield the image at `path`, not yet decoded and within the caps.

    Whatever goes wrong with it inside the block becomes a `DataError` that names the file.
    """
    caps.check_file(path)
    try:
        # Read whole, for from a file Pillow would allocate whatever length a chunk claims.
        content = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}", "an image") from error
    with opened_bytes(path, content, caps, formats) as image:
        yield image


@contextmanager
def opened_bytes(
    path: Path, content: bytes, caps: Caps, formats: tuple[str, ...] = FORMATS
) -> Iterator[Image.Image]:
    """Yield the image that `content` is, as `opened_image` does; `path` is only its name."""
    caps.check_bytes(path, len(content))
    try:
        with warnings.catch_warnings():
            # Pillow warns of a decompression bomb before our own cap can refuse it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=formats) as image:
                caps.check_pixels(path, image.height, image.width)
                yield image
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        fault, expected = f"a decompression bomb: {error}", f"at most {caps.pixels:,} pixels"
        raise DataError(path, fault, expected) from error
    except Exception as error:  # Pillow raises almost any kind for damaged bytes
        unknown = isinstance(error, UnidentifiedImageError)
        fault = "is not an image" if unknown else f"cannot be decoded: {error}"
        raise DataError(path, fault, f"a whole {' or '.join(formats)} image") from error


def channels_of(path: Path, image: Image.Image) -> int:
    """Return 1 for a grey image, 3 for one with colours. Raises `DataError` beyond 8 bits."""
    if image.mode in _GREY_MODES:
        return 1
    if image.mode in _COLOUR_MODES:
        return 3
    raise DataError(path, f"pixels of mode {image.mode}", "8 bits a channel, grey or colour")
