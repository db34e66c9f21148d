"""First bytes decide; the declared type only breaks ties."""

from __future__ import annotations

import numpy as np
import pytest

from handlers.formats import Format, body_format, is_envelope, sniff
from tests.handlers.samples import encoded, npy

GREY = np.zeros((8, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (encoded(GREY, "PNG"), Format.PNG),
        (encoded(GREY, "JPEG"), Format.JPEG),
        (encoded(GREY, "WEBP"), Format.WEBP),
        (npy(GREY), Format.NPY),
    ],
)
@pytest.mark.parametrize("declared", ["", "image/gif", "application/json", "text/plain"])
def test_known_first_bytes_beat_any_declared_type(body: bytes, kind: Format, declared: str) -> None:
    assert sniff(body) is kind
    assert sniff(bytearray(body)) is kind
    assert sniff(memoryview(body)) is kind
    assert body_format(body, declared) is kind


@pytest.mark.parametrize(
    "body", [b"", b"\x89PNG", b"\xff\xd8", b"RIFF1234WAVE", b"GIF89a", b"\x93NUMP", b"%PDF-1.7"]
)
def test_other_first_bytes_are_nothing_known(body: bytes) -> None:
    assert sniff(body) is None


@pytest.mark.parametrize("body", [b'{"a": 1}', b" \r\n\t{ \n}", b'{ "'])
def test_an_object_is_json_without_being_declared(body: bytes) -> None:
    assert body_format(body, "") is Format.JSON


@pytest.mark.parametrize("body", [b"[[1, 2]]", b"null", b"{]", b"\0\0"])
@pytest.mark.parametrize(
    "declared", ["application/json", "Application/JSON; charset=utf-8", "a/b+json"]
)
def test_anything_declared_as_json_is_json(body: bytes, declared: str) -> None:
    assert body_format(body, declared) is Format.JSON
    assert body_format(body, "") is Format.RAW


def test_pixels_that_look_like_json_are_pixels_if_declared_so() -> None:
    assert body_format(b'{"' + bytes(62), "application/octet-stream") is Format.RAW


def test_an_envelope_is_known_by_its_magic() -> None:
    assert is_envelope(b"TKEP\x01")
    assert not is_envelope(b"TKE")
    assert not is_envelope(encoded(GREY))
