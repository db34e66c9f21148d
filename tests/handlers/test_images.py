"""Encoded images: what is decoded, and what is refused before or while it is."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from handlers.config import LimitsConfig
from handlers.formats import Format, sniff
from handlers.images import decode_image
from handlers.pixels import Expected
from tests.handlers.samples import encoded, jpeg_claiming, png_claiming, webp_claiming
from torchkeep.errors import ItemError
from torchkeep.schema import ItemStatus

GREY = Expected((1, 8, 8), LimitsConfig())
COLOUR = Expected((3, 6, 10), LimitsConfig())
RNG = np.random.default_rng(0)
GREY_PIXELS = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
COLOUR_PIXELS = RNG.integers(0, 256, (6, 10, 3), dtype=np.uint8)


def decode(data: bytes, expected: Expected = GREY) -> Any:
    kind = sniff(data)
    assert kind is not None
    return decode_image(data, kind, expected)


def refusal(data: bytes, expected: Expected = GREY) -> tuple[ItemStatus, str]:
    with pytest.raises(ItemError) as error:
        decode(data, expected)
    return error.value.status, error.value.message


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_images_come_out_as_they_went_in(kind: str, options: Any) -> None:
    grey = decode(encoded(GREY_PIXELS, kind, **options))
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey, GREY_PIXELS[np.newaxis])
    colour = decode(encoded(COLOUR_PIXELS, kind, **options), COLOUR)
    np.testing.assert_array_equal(colour, COLOUR_PIXELS.transpose(2, 0, 1))
    assert colour.flags.c_contiguous


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_images_come_out_nearly_as_they_went_in(kind: str) -> None:
    smooth = np.add.outer(np.arange(8) * 16, np.arange(8) * 8).astype(np.uint8)
    difference = decode(encoded(smooth, kind, quality=95))[0].astype(int) - smooth
    assert np.abs(difference).max() <= 12


def test_grey_becomes_colour_and_colour_grey() -> None:
    grey = decode(encoded(np.full((6, 10), 77, dtype=np.uint8)), COLOUR)
    assert (grey == 77).all()
    assert grey.shape == (3, 6, 10)
    red = np.zeros((8, 8, 3), dtype=np.uint8)
    red[..., 0] = 255
    assert (decode(encoded(red)) == 76).all()  # ITU-R 601: 0.299 × 255


def test_a_palette_and_one_bit_are_decoded() -> None:
    stream = io.BytesIO()
    Image.fromarray(GREY_PIXELS).convert("P").save(stream, "PNG")
    np.testing.assert_array_equal(decode(stream.getvalue())[0], GREY_PIXELS)
    stream = io.BytesIO()
    Image.fromarray(GREY_PIXELS > 127).save(stream, "PNG")
    np.testing.assert_array_equal(decode(stream.getvalue())[0], (GREY_PIXELS > 127) * 255)


def test_an_opaque_alpha_channel_is_dropped_and_a_transparent_one_refused() -> None:
    layers = np.dstack([GREY_PIXELS] * 3 + [np.full((8, 8), 255, dtype=np.uint8)])
    np.testing.assert_array_equal(decode(encoded(layers))[0], GREY_PIXELS)
    layers[3, 3, 3] = 254
    assert refusal(encoded(layers)) == (
        ItemStatus.BAD_INPUT,
        "the PNG image has transparent pixels; expected an opaque one",
    )


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (encoded(np.zeros((7, 8), dtype=np.uint8), "PNG"), "PNG"),
        (encoded(np.zeros((7, 8), dtype=np.uint8), "JPEG"), "JPEG"),
        (encoded(np.zeros((7, 8), dtype=np.uint8), "WEBP"), "WebP"),
    ],
)
def test_another_size_is_refused_not_resized(data: bytes, name: str) -> None:
    assert refusal(data) == (
        ItemStatus.BAD_INPUT,
        f"the {name} image has 7 × 8 pixels (height × width); expected 8 × 8",
    )


BOMBS = [
    png_claiming(50_000, 50_000),
    jpeg_claiming(60_000, 60_000),
    webp_claiming(16_384, 16_384, b"VP8X"),
    webp_claiming(16_384, 16_384, b"VP8L"),
    webp_claiming(16_383, 16_383, b"VP8 "),
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_by_its_header_alone(
    bomb: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append("load"))
    monkeypatch.setattr("PIL._webp.WebPAnimDecoder", lambda data: decoded.append("webp"))
    status, message = refusal(bomb)
    assert status is ItemStatus.TOO_LARGE
    assert message.endswith("at most 16777216 in all are taken")
    assert decoded == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_half_an_image_is_refused(kind: str) -> None:
    data = encoded(GREY_PIXELS, kind)
    status, message = refusal(data[: len(data) // 2])
    assert status is ItemStatus.BAD_INPUT
    name = "WebP" if kind == "WEBP" else kind
    assert message == f"the {name} image is truncated or damaged"


@pytest.mark.parametrize("kind", [b"VP8X", b"VP8L", b"VP8 "])
@pytest.mark.parametrize("length", [12, 16, 24])
def test_a_webp_that_ends_in_its_header_is_refused(kind: bytes, length: int) -> None:
    assert refusal(webp_claiming(8, 8, kind)[:length]) == (
        ItemStatus.BAD_INPUT,
        "the WebP image is truncated or damaged",
    )


def test_an_animation_is_refused() -> None:
    frames = [Image.fromarray(np.full((8, 8), value, dtype=np.uint8)) for value in (0, 255)]
    for kind, name in (("WEBP", "WebP"), ("PNG", "PNG")):
        stream = io.BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:], duration=10)
        assert refusal(stream.getvalue()) == (
            ItemStatus.BAD_INPUT,
            f"the {name} has 2 frames; expected a still image",
        )


def test_sixteen_bits_a_channel_are_refused() -> None:
    data = encoded(GREY_PIXELS.astype(np.uint16) * 257)
    status, message = refusal(data)
    assert status is ItemStatus.BAD_INPUT
    assert message == "the PNG image is of mode I;16; expected 8 bits a channel"


def test_a_model_of_four_channels_takes_no_images() -> None:
    status, message = refusal(encoded(GREY_PIXELS), Expected((4, 8, 8), LimitsConfig()))
    assert status is ItemStatus.UNSUPPORTED
    assert message == "the model takes 4 channels; send a raw or npy tensor, not PNG"


def test_a_decoder_that_fails_in_its_own_way_is_the_images_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def explode(self: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", explode)
    assert refusal(encoded(GREY_PIXELS))[0] is ItemStatus.BAD_INPUT
    assert sniff(encoded(GREY_PIXELS)) is Format.PNG
