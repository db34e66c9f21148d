"""What a client sends: inputs become bytes unchanged, and what cannot be sent is said."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep.client import rest
from torchkeep.client.grpc import request_of
from torchkeep.client.question import Body, Question, content_type_of, encode
from torchkeep.errors import DataError, SettingsError
from torchkeep.schema import Operation

fuzz = settings(deadline=None, max_examples=100, derandomize=True)


def question(**changes: Any) -> Question:
    values: dict[str, Any] = {
        "operation": Operation.PREDICT,
        "model": "mnist",
        "body": Body(b"x", "image/png", None),
        "request_id": "r",
    }
    return Question(**values | changes)


@pytest.mark.parametrize(
    ("start", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\n\n\n\nWEBP", "image/webp"),
        (b"\x93NUMPY\x01\x00", "application/x-npy"),
        (b'{"instances": []}', "application/octet-stream"),
        (b"RIFF\n\n\n\nWAVE", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_the_first_bytes_tell_the_content_type(start: bytes, content_type: str) -> None:
    assert content_type_of(start) == content_type
    assert encode(start) == Body(start, content_type, None)


@fuzz
@given(st.lists(st.binary(max_size=32), max_size=5))
def test_several_images_arrive_unchanged(images: list[bytes]) -> None:
    body = encode(images)
    instances = json.loads(body.content)["instances"]
    assert [base64.b64decode(instance["b64"]) for instance in instances] == images
    assert (body.content_type, body.items) == ("application/json", len(images))


@fuzz
@given(
    st.sampled_from([np.dtype("uint8"), np.dtype("float32"), np.dtype(">f4")]),
    st.lists(st.integers(0, 4), min_size=2, max_size=4),
)
def test_an_array_arrives_unchanged(dtype: np.dtype[Any], shape: list[int]) -> None:
    array = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    if not dtype.isnative:
        with pytest.raises(DataError):
            encode(array)
        return
    body = encode(array)
    arrived = np.lib.format.read_array(io.BytesIO(body.content), allow_pickle=False)
    assert arrived.dtype == dtype
    np.testing.assert_array_equal(arrived, array)
    assert body.items == (shape[0] if len(shape) == 4 else None)


@pytest.mark.parametrize(
    "value",
    [
        "image.png",
        7,
        None,
        bytearray(b"image"),
        {"b64": "AAAA"},
        ["image.png"],
        [np.zeros((1, 2, 2), dtype=np.uint8)],
        np.zeros((1, 2, 2)),
        np.zeros((1, 2, 2), dtype=np.int64),
        np.zeros((1, 2, 2), dtype=object),
        np.zeros(4, dtype=np.uint8),
        np.zeros((1, 1, 1, 2, 2), dtype=np.uint8),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'shape', '')}",
)
def test_what_cannot_be_sent_is_said(value: Any) -> None:
    with pytest.raises(DataError, match=r"expected (bytes|uint8)"):
        encode(value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(DataError, match="cannot be read") as caught:
            encode([path])
        assert caught.value.path == str(path)


@pytest.mark.parametrize("name", ["request_id", "correlation_id", "session_id"])
@pytest.mark.parametrize("value", ["", "a b", "a\r\nX-Evil: 1", "ä", "x" * 129, "a\n"])
def test_an_id_no_header_should_hold_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        question(**{name: value})


def test_ids_of_the_whole_alphabet_are_taken() -> None:
    alphabet = "ABCXYZabcxyz0123456789._:-"
    assert question(session_id=alphabet).tags() == {"request_id": "r", "session_id": alphabet}


def test_segments_are_texts() -> None:
    with pytest.raises(SettingsError, match="segments"):
        question(segments={"age": 7})
    assert "segments" not in question(segments={}).tags()


@pytest.mark.parametrize("name", ["", "a\nb", "\udcff"])
def test_a_model_has_a_name(name: str) -> None:
    with pytest.raises(SettingsError, match="model"):
        question(model=name)
    if name:
        with pytest.raises(SettingsError, match="model"):
            question(version=name)


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    path = rest.path_of(question(model="../ping?x", version="1/2"))
    assert path == "/predictions/..%2Fping%3Fx/1%2F2"


@fuzz
@given(st.dictionaries(st.text(max_size=4), st.text(max_size=4), min_size=1))
def test_segments_of_any_text_fit_in_a_header(segments: dict[str, str]) -> None:
    asked = question(segments=segments)
    header = rest.headers_of(asked, None)["x-segments"]
    assert header.isascii()
    assert header.isprintable()
    assert json.loads(header) == segments
    assert json.loads(request_of(asked).input["segments"]) == segments


def test_only_explain_is_named_over_grpc() -> None:
    assert "operation" not in request_of(question()).input
    explained = request_of(question(operation=Operation.EXPLAIN))
    assert explained.input["operation"] == b"explain"
    assert rest.path_of(question(operation=Operation.EXPLAIN)) == "/explanations/mnist"
