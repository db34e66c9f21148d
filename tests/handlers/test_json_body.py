"""JSON bodies: what counts as an image, and one clear line for what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.config import LimitsConfig
from handlers.json_body import decode_base64, decode_list, parse_json
from handlers.pixels import Expected
from tests.handlers.samples import b64, instances
from torchkeep.errors import ItemError
from torchkeep.schema import ItemStatus

GREY = Expected((1, 2, 3), LimitsConfig(max_items=5, max_json_bytes=10_000))
COLOUR = Expected((2, 2, 3), LimitsConfig())
FUZZ = settings(deadline=None, max_examples=200, derandomize=True)

WHOLE = [[0, 1, 2], [3, 254, 255]]
UNIT = [[0.0, 0.5, 1.0], [0.25, 1, 0]]


def parse_refusal(body: bytes) -> tuple[ItemStatus, str]:
    with pytest.raises(ItemError) as error:
        parse_json(body, GREY)
    return error.value.status, error.value.message


def refusal(instance: Any, dtype: Any = None, expected: Expected = GREY) -> str:
    with pytest.raises(ItemError) as error:
        decode_list(instance, dtype, expected)
    assert error.value.status is ItemStatus.BAD_INPUT
    assert "\n" not in error.value.message
    return error.value.message


def test_whole_numbers_are_uint8() -> None:
    for instance in (WHOLE, [WHOLE]):
        image = decode_list(instance, None, GREY)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, [WHOLE])


def test_one_fraction_makes_an_image_float32() -> None:
    image = decode_list(UNIT, None, GREY)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, np.array([UNIT], dtype=np.float32))


def test_a_dtype_decides_what_whole_numbers_are() -> None:
    ones = [[0, 1, 1], [1, 0, 1]]
    assert decode_list(ones, "uint8", GREY).dtype == np.uint8
    assert decode_list(ones, "float32", GREY).dtype == np.float32
    assert "pixels lie in 0 to 255" in refusal(WHOLE, "float32")
    assert refusal(UNIT, "uint8") == (
        "an instance holds a fraction; expected whole numbers for uint8"
    )


def test_channels_come_first() -> None:
    np.testing.assert_array_equal(decode_list([WHOLE, WHOLE], None, COLOUR), [WHOLE, WHOLE])
    assert refusal(WHOLE, None, COLOUR) == "an instance has shape 2 × 3; expected 2 × 2 × 3"


@pytest.mark.parametrize(
    ("instance", "fault"),
    [
        ([[1, 2], [3, 4]], "an instance has shape 2 × 2; expected 1 × 2 × 3"),
        ([], "an instance has shape 0; expected 1 × 2 × 3"),
        ([[], []], "an instance has shape 2 × 0; expected 1 × 2 × 3"),
        ([1, 2, 3], "an instance has shape 3; expected 1 × 2 × 3"),
        ([[[[1]]]], "an instance has shape 1 × 1 × 1 × 1; expected 1 × 2 × 3"),
        ([WHOLE, WHOLE], "an instance has shape 2 × 2 × 3; expected 1 × 2 × 3"),
        ([[1, 2, 3], [4, 5]], "an instance is ragged; expected 1 × 2 × 3 throughout"),
        ([[1, 2, 3], 4], "an instance is ragged; expected 1 × 2 × 3 throughout"),
        ([[1, 2, 3], [4, 5, [6]]], "an instance holds something that is no number"),
        ([[1, 2, 3], [4, 5, None]], "an instance holds something that is no number"),
        ([[1, 2, 3], [4, 5, True]], "an instance holds something that is no number"),
        ([[1, 2, 3], [4, 5, "6"]], "an instance holds something that is no number"),
        ([[1, 2, 3], [4, 5, {}]], "an instance holds something that is no number"),
        ([[1, 2, 3], [4, 5, "x" * 10_000]], "an instance holds something that is no number"),
        ([[1, 2, 3], [4, 5, -1]], "pixels lie in -1 to 5; expected 0 to 255 for whole numbers"),
        ([[1, 2, 3], [4, 5, 256]], "pixels lie in 1 to 256; expected 0 to 255 for whole numbers"),
        (
            [[1, 2, 3], [4, 5, 2**64 - 1]],
            "pixels lie in 1 to 18446744073709551615; expected 0 to 255 for whole numbers",
        ),
        (
            [[1.5, 0, 0], [0, 0, 0]],
            "pixels lie in 0 to 1.5; expected 0 to 1 for floats (or send uint8)",
        ),
        ([[1e300, 0, 0], [0, 0, 0]], "pixels are NaN or infinite; expected 0 to 1"),
        ("pixels", 'an instance must be a nested list or {"b64": "…"}'),
        (5, 'an instance must be a nested list or {"b64": "…"}'),
        (None, 'an instance must be a nested list or {"b64": "…"}'),
    ],
)
def test_an_instance_that_is_no_image_is_refused(instance: Any, fault: str) -> None:
    assert refusal(instance) == fault


def test_base64_is_decoded() -> None:
    assert decode_base64(b64(b"\0\xffbytes")) == b"\0\xffbytes"


@pytest.mark.parametrize(
    ("instance", "fault"),
    [
        ({"b64": "a"}, "the instance is not valid base64"),
        ({"b64": "ab!="}, "the instance is not valid base64"),
        ({"b64": "ab\ncd"}, "the instance is not valid base64"),
        ({"b64": "äöü="}, "the instance is not valid base64"),
        ({"b64": 5}, 'an instance that is an object must be {"b64": "…"}'),
        ({"b64": "", "more": 1}, 'an instance that is an object must be {"b64": "…"}'),
        ({}, 'an instance that is an object must be {"b64": "…"}'),
    ],
)
def test_what_is_no_base64_is_refused(instance: Any, fault: str) -> None:
    with pytest.raises(ItemError) as error:
        decode_base64(instance)
    assert (error.value.status, error.value.message) == (ItemStatus.BAD_INPUT, fault)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"{", "the JSON cannot be parsed"),
        (b'{"instances": [[1]]} x', "the JSON cannot be parsed"),
        (b'{"instances": ' + b"[" * 4000 + b"]" * 4000 + b"}", "depth limit exceeded"),
        (b'{"a":' * 1500 + b"1" + b"}" * 1500, "depth limit exceeded"),
        (b'{"instances": [1e999]}', "number is infinity"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", "number is infinity"),
        (b'{"instances": [NaN]}', "the JSON cannot be parsed"),
        (b'{"instances": ["\\ud800"]}', "surrogate"),
        (b'{"instances": ["\xff"]}', "not valid UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"[[1, 2]]", 'the JSON is no object with a list "instances"'),
        (b"5", 'the JSON is no object with a list "instances"'),
        (b"{}", 'the JSON is no object with a list "instances"'),
        (b'{"instances": {}}', 'the JSON is no object with a list "instances"'),
        (b'{"instances": []}', "the request has no items"),
        (b'{"instances": [1], "dtpye": "uint8"}', "unknown key 'dtpye'"),
        (b'{"instances": [1], "dtype": "int64"}', 'unknown "dtype"'),
        (b'{"instances": [1], "dtype": []}', 'unknown "dtype"'),
    ],
)
def test_a_document_that_is_none_is_refused(body: bytes, fault: str) -> None:
    status, message = parse_refusal(body)
    assert status is ItemStatus.BAD_INPUT
    assert fault in message
    assert "\n" not in message


def test_too_many_instances_and_too_many_bytes_are_refused() -> None:
    assert parse_refusal(instances(*[0] * 6)) == (
        ItemStatus.TOO_LARGE,
        "the request has 6 items; at most 5 are taken",
    )
    assert parse_refusal(b" " * 10_001) == (
        ItemStatus.TOO_LARGE,
        "the JSON has 10001 bytes; at most 10000 are taken (send npy or raw bytes)",
    )


def test_what_a_document_says_of_itself_is_kept() -> None:
    about = {"request_id": "r", "session_id": "s", "correlation_id": "c", "segments": {"a": "b"}}
    document = parse_json(instances(1, **about), GREY)
    assert document.about == about
    assert document.dtype is None


numbers = st.integers(-2, 300) | st.floats(0, 1) | st.sampled_from([1e308, 2**63, 2**64 - 1])
leaves = numbers | st.none() | st.booleans() | st.text(max_size=3)
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=30)
near_misses = st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=2, max_size=2)


@FUZZ
@given(trees | near_misses, st.sampled_from([None, "uint8", "float32"]))
def test_any_instance_is_an_image_or_an_item_error(instance: Any, dtype: Any) -> None:
    try:
        image = decode_list(instance, dtype, GREY)
    except ItemError as error:
        assert error.status is ItemStatus.BAD_INPUT  # noqa: PT017 - both ends are allowed
    else:
        assert image.shape == (1, 2, 3)
        assert dtype in (None, str(image.dtype))
        assert image.min() >= 0
        assert image.max() <= (255 if image.dtype == np.uint8 else 1)


@FUZZ
@given(st.binary(max_size=60), st.integers(0, 40))
def test_mutated_documents_are_survived(noise: bytes, position: int) -> None:
    body = orjson.dumps({"instances": [WHOLE, b64(b"x")], "dtype": "uint8"})
    try:
        document = parse_json(body[:position] + noise + body[position:], GREY)
    except ItemError as error:
        assert "\n" not in error.message  # noqa: PT017 - both ends are allowed
    else:
        assert 1 <= len(document.instances) <= 5
