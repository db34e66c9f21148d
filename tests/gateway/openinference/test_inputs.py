"""Tensors of a request become a payload, or one line says what was expected."""

from __future__ import annotations

import tracemalloc
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gateway.openinference.inputs import read_payload
from gateway.openinference.tensors import InputTensor, pack_bytes, unpack_bytes
from gateway.refusal import Code, Refusal
from tests.gateway.openinference.samples import served_version
from torchkeep.schema import Operation

SERVED = served_version()
SHAPE = (2, *SERVED.input)
FUZZ = settings(deadline=None, max_examples=100, derandomize=True)


def tensor(**changes: Any) -> InputTensor:
    fields: dict[str, Any] = {
        "name": "image",
        "datatype": "UINT8",
        "shape": SHAPE,
        "raw": None,
        "values": None,
    }
    return InputTensor(**(fields | changes))


def refusal_of(*tensors: InputTensor, operation: Operation = Operation.PREDICT) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_payload(tensors, SERVED, operation)
    assert caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


@FUZZ
@given(arrays(np.uint8, SHAPE), st.booleans())
def test_raw_nested_and_flat_bytes_are_the_same_image(
    pixels: np.ndarray[Any, Any], flat: bool
) -> None:
    values = pixels.reshape(-1).tolist() if flat else pixels.tolist()
    from_values = read_payload([tensor(values=values)], SERVED)
    from_raw = read_payload([tensor(raw=memoryview(pixels.tobytes()))], SERVED)
    assert isinstance(from_values, np.ndarray)
    assert isinstance(from_raw, np.ndarray)
    assert from_values.dtype == from_raw.dtype == np.uint8
    np.testing.assert_array_equal(from_values, pixels)
    np.testing.assert_array_equal(from_raw, pixels)


@FUZZ
@given(arrays(np.float32, SHAPE, elements=st.floats(width=32)))
def test_floats_come_through_bit_by_bit(pixels: np.ndarray[Any, Any]) -> None:
    payload = read_payload([tensor(datatype="FP32", raw=pixels.tobytes())], SERVED)
    assert isinstance(payload, np.ndarray)
    assert payload.tobytes() == pixels.tobytes()


@FUZZ
@given(arrays(np.float16, SHAPE, elements=st.floats(0, 1, width=16)))
def test_half_floats_keep_their_value(pixels: np.ndarray[Any, Any]) -> None:
    payload = read_payload([tensor(datatype="FP16", raw=pixels.tobytes())], SERVED)
    assert isinstance(payload, np.ndarray)
    assert payload.dtype == np.float32
    np.testing.assert_array_equal(payload, pixels.astype(np.float32))


@FUZZ
@given(arrays(np.uint16, SHAPE))
def test_brain_floats_are_the_upper_half_of_floats(halves: np.ndarray[Any, Any]) -> None:
    payload = read_payload([tensor(datatype="BF16", raw=halves.tobytes())], SERVED)
    assert isinstance(payload, np.ndarray)
    words = payload.view(np.uint32)
    np.testing.assert_array_equal(words >> 16, halves)
    assert not (words & 0xFFFF).any()


@FUZZ
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8), st.booleans())
def test_files_come_through_in_every_form(files: list[bytes], column: bool) -> None:
    count = len(files)
    shape = (count, 1) if column else (count,)
    nested: list[Any] = [[blob] for blob in files] if column else list(files)
    for form in ({"raw": pack_bytes(files)}, {"values": nested}, {"values": files}):
        payload = read_payload([tensor(datatype="BYTES", shape=shape, **form)], SERVED)
        assert [bytes(blob) for blob in payload] == files


def test_texts_of_bytes_are_utf_8() -> None:
    payload = read_payload([tensor(datatype="BYTES", shape=(1,), values=["é"])], SERVED)
    assert list(payload) == ["é".encode()]


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"name": "input"}, "'image'"),
        ({"datatype": "INT64"}, "UINT8, FP32"),
        ({"datatype": ""}, "UINT8, FP32"),
        ({"shape": SERVED.input}, "send one image as [1, 2, 3, 4]"),
        ({"shape": ()}, "[N, 2, 3, 4]"),
        ({"shape": (2, 24)}, "[N, 2, 3, 4]"),
        ({"shape": (0, 2, 3, 4)}, "0 items"),
        ({"shape": (-1, 2, 3, 4)}, "-1 items"),
        ({"shape": (1, -2, -3, 4)}, "[N, 2, 3, 4]"),
        ({"shape": (2**63,) * 4}, "[N, 2, 3, 4]"),
        ({"shape": (1,) * 5000}, "…"),
        ({"raw": bytes(47)}, "needs 48"),
        ({"raw": bytes(49)}, "needs 48"),
        ({"raw": b""}, "needs 48"),
        ({"datatype": "BF16", "raw": bytes(48)}, "needs 96"),
        ({"values": [0] * 47}, "needs 48"),
        ({"values": []}, "needs 48"),
        ({"values": [256] * 48}, "0 to 255"),
        ({"values": [-1] + [0] * 47}, "0 to 255"),
        ({"values": [10**400] * 48}, "0 to 255"),
        ({"values": [0.5] * 48}, "fractions"),
        ({"values": [True] * 48}, "no number"),
        ({"values": [None] * 48}, "no number"),
        ({"values": ["1"] * 48}, "no number"),
        ({"values": [{}] * 48}, "no number"),
        ({"values": [[0] * 24, [0] * 23]}, "not nested as [2, 2, 3, 4]"),
        ({"values": [[0] * 24, 0]}, "not nested"),
        ({"values": [[0] * 24, [0] * 24]}, "not nested"),
        ({"values": [[[[[0]]]]] * 2}, "not nested"),
        ({"datatype": "FP32", "values": [10**400] * 48}, "too large"),
        ({"datatype": "BYTES", "shape": (2, 2), "values": ["a"] * 4}, "[N]"),
        ({"datatype": "BYTES", "shape": (0,), "values": []}, "0 items"),
        ({"datatype": "BYTES", "shape": (2,), "values": ["a"]}, "1 elements"),
        ({"datatype": "BYTES", "shape": (1,), "values": [7]}, "neither"),
        ({"datatype": "BYTES", "shape": (1,), "raw": b"\x01\x00"}, "ends after 0"),
        ({"datatype": "BYTES", "shape": (1,), "raw": b"\xff\xff\xff\xffabc"}, "longer"),
        ({"datatype": "BYTES", "shape": (1,), "raw": pack_bytes([b"a", b"b"])}, "are left"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_expected(
    changes: dict[str, Any], hint: str
) -> None:
    found = refusal_of(tensor(**({"values": [0] * 48} | changes)))
    assert found.code is Code.INVALID
    assert hint in found.message
    assert len(found.message) < 400


def test_no_input_and_two_inputs_are_refused() -> None:
    assert "none" in refusal_of().message
    assert "exactly one" in refusal_of(tensor(raw=bytes(48)), tensor(raw=bytes(48))).message


@pytest.mark.parametrize("datatype", ["UINT8", "BYTES"])
@pytest.mark.parametrize(("operation", "most"), [(Operation.PREDICT, 50), (Operation.EXPLAIN, 4)])
def test_too_many_items_are_too_large(datatype: str, operation: Operation, most: int) -> None:
    shape = (most + 1,) if datatype == "BYTES" else (most + 1, *SERVED.input)
    found = refusal_of(tensor(datatype=datatype, shape=shape, raw=b""), operation=operation)
    assert found.code is Code.TOO_LARGE
    assert f"at most {most}" in found.message


def test_nothing_is_explained_where_that_is_off() -> None:
    closed = served_version(max_explain_items=0)
    with pytest.raises(Refusal) as caught:
        read_payload([tensor(raw=bytes(48))], closed, Operation.EXPLAIN)
    assert caught.value.code is Code.UNIMPLEMENTED


def test_one_long_text_among_many_takes_no_memory() -> None:
    values = ["x" * 1_000_000] + ["y"] * 10_000
    tracemalloc.start()
    try:
        refusal_of(tensor(values=values))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


leaf = st.one_of(
    st.integers(), st.floats(), st.none(), st.booleans(), st.text(max_size=3), st.binary(max_size=3)
)
tree = st.recursive(leaf, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


@FUZZ
@given(
    name=st.sampled_from(["image", "image", "image", "x"]),
    datatype=st.sampled_from(["UINT8", "FP32", "FP16", "BF16", "BYTES", "STRING"]),
    shape=st.one_of(
        st.just(SHAPE),
        st.lists(st.integers(-2, 2**64), max_size=5).map(tuple),
        st.integers(-1, 3).map(lambda count: (count,)),
    ),
    raw=st.none() | st.binary(max_size=200),
    values=st.lists(tree, max_size=50),
)
def test_whatever_comes_is_a_payload_or_a_refusal(
    name: str, datatype: str, shape: tuple[int, ...], raw: bytes | None, values: list[Any]
) -> None:
    given_tensor = InputTensor(name, datatype, shape, raw, values if raw is None else None)
    try:
        payload = read_payload([given_tensor], SERVED)
    except Refusal as raised:
        refusal: Refusal | None = raised
    else:
        refusal = None
    if refusal is not None:
        assert refusal.code in (Code.INVALID, Code.TOO_LARGE)
        assert refusal.message
        return
    assert len(payload) == shape[0]
    if isinstance(payload, np.ndarray):
        assert payload.shape == shape
        assert payload.size == prod(SERVED.input) * shape[0]


@FUZZ
@given(st.binary(max_size=60), st.integers(0, 5))
def test_unpacking_gives_exactly_what_was_packed_or_raises(raw: bytes, count: int) -> None:
    try:
        elements = unpack_bytes(raw, count)
    except ValueError:
        return
    assert pack_bytes([bytes(element) for element in elements]) == raw
