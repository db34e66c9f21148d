"""Bodies: every item has its own end, and what is wrong with one is no matter to another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers import bodies
from handlers.bodies import EncodedBody, decode_blob
from handlers.config import LimitsConfig
from handlers.decode import open_body
from handlers.formats import Format
from handlers.pixels import Expected, check_floats, stack, to_unit_floats
from tests.handlers.samples import b64, encoded, instances, npy
from torchkeep.errors import ItemError
from torchkeep.schema import ItemStatus

GREY = Expected((1, 8, 8), LimitsConfig(max_items=10, max_bytes=100_000))
FUZZ = settings(deadline=None, max_examples=150, derandomize=True)
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
RAW = "application/octet-stream"


def decode_all(data: bytes, content_type: str = "") -> list[Any]:
    body, _ = open_body(data, content_type, GREY)
    return body.decode(range(len(body)))


def refusal(data: bytes, content_type: str = "") -> tuple[ItemStatus, str]:
    with pytest.raises(ItemError) as error:
        open_body(data, content_type, GREY)
    return error.value.status, error.value.message


@pytest.mark.parametrize(
    ("data", "content_type", "kind"),
    [
        (PIXELS.tobytes(), "", Format.RAW),
        (PIXELS.tobytes(), RAW, Format.RAW),
        (npy(PIXELS), "", Format.NPY),
        (npy(PIXELS[:, 0]), "image/png", Format.NPY),
        (instances(*PIXELS), "", Format.JSON),
        (instances(*[b64(encoded(image[0])) for image in PIXELS]), "", Format.JSON),
        (instances(*[b64(npy(image)) for image in PIXELS]), "application/json", Format.JSON),
    ],
)
def test_many_items_come_out_of_every_kind(data: bytes, content_type: str, kind: Format) -> None:
    body, _ = open_body(data, content_type, GREY)
    assert len(body) == 3
    assert [body.format_of(place) for place in range(3)] == [kind] * 3
    for decoded, sent in zip(body.decode(range(3)), PIXELS, strict=True):
        assert not isinstance(decoded, ItemError)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, sent)
    np.testing.assert_array_equal(np.asarray(body.decode([2])), PIXELS[2:])


def test_floats_of_any_size_become_float32() -> None:
    unit = PIXELS / 255
    for dtype in (">f4", "<f8"):
        for decoded, sent in zip(decode_all(npy(unit.astype(dtype))), unit, strict=True):
            assert decoded.dtype == np.float32
            np.testing.assert_allclose(decoded, sent, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -0.001, 1.001, 255.0])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_a_bad_float_is_its_own_items_fault(bad: float, dtype: str) -> None:
    unit = (PIXELS / 255).astype(dtype)
    unit[1, 0, 3, 3] = bad
    first, second, third = decode_all(npy(unit))
    assert isinstance(second, ItemError)
    assert second.status is ItemStatus.BAD_INPUT
    assert ("NaN or infinite" in second.message) == (not np.isfinite(bad))
    assert first.shape == third.shape == (1, 8, 8)


def test_a_float64_beyond_float32_is_infinite() -> None:
    huge = np.full((8, 8), 1e300)
    assert decode_all(npy(huge))[0].message == "pixels are NaN or infinite; expected 0 to 1"


def test_a_bad_instance_is_its_own_fault() -> None:
    good = b64(encoded(PIXELS[0, 0]))
    bad = [{"b64": "!"}, [[1]], b64(b"hello"), b64(npy(PIXELS)), b64(encoded(PIXELS[0, 0])[:40])]
    mixed = [item for pair in zip([good] * len(bad), bad, strict=True) for item in pair]
    decoded = decode_all(instances(*mixed))
    for image in decoded[::2]:
        np.testing.assert_array_equal(image, PIXELS[0])
    assert [(error.status, error.message) for error in decoded[1::2]] == [
        (ItemStatus.BAD_INPUT, "the instance is not valid base64"),
        (ItemStatus.BAD_INPUT, "an instance has shape 1 × 1; expected 1 × 8 × 8"),
        (ItemStatus.UNSUPPORTED, "the item is no PNG, JPEG, WebP or npy"),
        (ItemStatus.BAD_INPUT, "the npy holds 3 images; expected one"),
        (ItemStatus.BAD_INPUT, "the PNG image is truncated or damaged"),
    ]


@pytest.mark.parametrize(
    ("data", "content_type", "status", "message"),
    [
        (b"", "", ItemStatus.BAD_INPUT, "the body is empty"),
        (b"", "image/png", ItemStatus.BAD_INPUT, "the body is empty"),
        (
            bytes(100_001),
            "",
            ItemStatus.TOO_LARGE,
            "the body has 100001 bytes; at most 100000 are taken",
        ),
        (
            bytes(65),
            RAW,
            ItemStatus.BAD_INPUT,
            "the raw tensor has 65 bytes; expected a multiple of 64 bytes (1 × 8 × 8)",
        ),
        (
            b"hello",
            "",
            ItemStatus.UNSUPPORTED,
            "the body is no PNG, JPEG, WebP, npy or JSON, and its 5 bytes are no raw tensor "
            "either: expected a multiple of 64 bytes (1 × 8 × 8)",
        ),
        (
            bytes(64),
            "image/gif",
            ItemStatus.UNSUPPORTED,
            "the body is declared 'image/gif' but is no PNG, JPEG or WebP",
        ),
        (
            bytes(64 * 11),
            RAW,
            ItemStatus.TOO_LARGE,
            "the request has 11 items; at most 10 are taken",
        ),
    ],
)
def test_a_body_that_cannot_be_taken_apart_is_refused(
    data: bytes, content_type: str, status: ItemStatus, message: str
) -> None:
    assert refusal(data, content_type) == (status, message)


def test_an_unforeseen_fault_stays_with_its_item(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = decode_blob

    def sometimes(blob: bytes, expected: Expected) -> Any:
        if blob == b"trap":
            raise ZeroDivisionError("secret")
        return real(blob, expected)

    monkeypatch.setattr(bodies, "decode_blob", sometimes)
    good = encoded(PIXELS[0, 0])
    first, second, third = EncodedBody([good, b"trap", good], GREY).decode(range(3))
    assert isinstance(second, ItemError)
    assert (second.status, second.message) == (ItemStatus.ERROR, "the item could not be decoded")
    assert "ZeroDivisionError" in caplog.text
    np.testing.assert_array_equal(first, third)


def test_images_of_one_dtype_keep_it_and_mixed_ones_become_floats() -> None:
    floats = to_unit_floats(PIXELS[1])
    assert stack([PIXELS[0], PIXELS[1]]).dtype == np.uint8
    mixed = stack([PIXELS[0], floats])
    assert mixed.dtype == np.float32
    np.testing.assert_array_equal(mixed, to_unit_floats(PIXELS[:2]))


def test_the_edges_of_the_unit_range_are_inside() -> None:
    edges = np.array([0.0, -0.0, 1.0, 2**-149], dtype=np.float32).reshape(1, 1, 2, 2)
    assert check_floats(edges) == [None]


def survives(data: bytes, content_type: str) -> None:
    """Opening and decoding hostile bytes ends in images or `ItemError`s of one line."""
    try:
        decoded = decode_all(data, content_type)
    except ItemError as error:
        decoded = [error]
    for result in decoded:
        if isinstance(result, ItemError):
            assert "\n" not in result.message
            assert len(result.message) < 250
            assert result.message != "the item could not be decoded"
        else:
            assert result.shape == (1, 8, 8)


WHOLE = [
    encoded(PIXELS[0, 0], "PNG"),
    encoded(PIXELS[0, 0], "JPEG"),
    encoded(PIXELS[0, 0], "WEBP", lossless=True),
    encoded(PIXELS[0, 0], "WEBP"),
    npy(PIXELS),
    npy(PIXELS / 255),
    instances(*PIXELS[:2, 0], b64(encoded(PIXELS[0, 0]))),
]
types = st.sampled_from(["", RAW, "image/png", "application/json", "text/html\nx" * 40])


@FUZZ
@given(st.binary(max_size=200), types)
def test_random_bytes_are_survived(data: bytes, content_type: str) -> None:
    survives(data, content_type)


@FUZZ
@given(st.sampled_from(WHOLE), st.data(), types)
def test_mutated_bodies_are_survived(whole: bytes, data: st.DataObject, declared: str) -> None:
    body = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(body[: data.draw(st.integers(1, len(body)))]), declared)
    survives(bytes(body), declared)
