"""npy without numpy.load: what is read, and what is refused before it is touched."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.config import LimitsConfig
from handlers.npy import open_npy, read_header
from handlers.pixels import Expected
from tests.handlers.samples import npy, npy_with_header
from torchkeep.errors import ItemError
from torchkeep.schema import ItemStatus

GREY = Expected((1, 8, 8), LimitsConfig(max_items=5))
COLOUR = Expected((3, 4, 5), LimitsConfig())
FUZZ = settings(deadline=None, max_examples=200, derandomize=True)


def refusal(data: bytes, expected: Expected = GREY) -> tuple[ItemStatus, str]:
    with pytest.raises(ItemError) as error:
        open_npy(data, expected)
    return error.value.status, error.value.message


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 8, 8), (3, 1, 8, 8)])
@pytest.mark.parametrize("dtype", ["|u1", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_saves_is_read(shape: tuple[int, ...], dtype: str, order: Any) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype, order=order)
    images = open_npy(npy(values), GREY)
    np.testing.assert_array_equal(images, values.reshape(-1, 1, 8, 8))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(version: tuple[int, int]) -> None:
    import io

    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ones((8, 8), np.uint8), version, allow_pickle=False)
    assert open_npy(stream.getvalue(), GREY).shape == (1, 1, 8, 8)


def test_keys_in_another_order_are_read() -> None:
    header = """{"shape": (8,8), "fortran_order": False, "descr": "|u1"}"""
    assert open_npy(npy_with_header(header, bytes(64)), GREY).shape == (1, 1, 8, 8)


@pytest.mark.parametrize("shape", [(7, 8), (8,), (), (1, 1, 8, 9), (2, 2, 8, 8), (8, 8, 1), (64,)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    status, message = refusal(npy(np.zeros(shape, dtype=np.uint8)))
    found = " × ".join(map(str, shape)) or "a single number"
    assert status is ItemStatus.BAD_INPUT
    assert message == f"the npy has shape {found}; expected 1 × 8 × 8, or N × 1 × 8 × 8"


def test_a_colour_image_must_have_its_channels_first() -> None:
    assert open_npy(npy(np.zeros((3, 4, 5), dtype=np.uint8)), COLOUR).shape == (1, 3, 4, 5)
    for shape in [(4, 5, 3), (4, 5), (2, 4, 5)]:
        assert "expected 3 × 4 × 5" in refusal(npy(np.zeros(shape, dtype=np.uint8)), COLOUR)[1]


@pytest.mark.parametrize("dtype", ["<i8", "<f2", "|b1", "<c16", "<U3", "|S5", "|i1", "<u2"])
def test_another_dtype_is_refused(dtype: str) -> None:
    status, message = refusal(npy(np.zeros((8, 8), dtype=dtype)))
    assert status is ItemStatus.BAD_INPUT
    assert message == f"the npy has dtype {dtype!r}; expected uint8, float32 or float64"


def test_objects_are_refused_and_never_unpickled() -> None:
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (8, 8), }"
    bomb = b"cbuiltins\nexec\n(S'raise SystemExit'\ntR."
    assert "dtype '|O'" in refusal(npy_with_header(header, bomb))[1]


@pytest.mark.parametrize("difference", [-1, 1, -64, 1000])
def test_values_must_be_as_many_as_the_shape_says(difference: int) -> None:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8), }"
    status, message = refusal(npy_with_header(header, bytes(64 + difference)))
    assert status is ItemStatus.BAD_INPUT
    assert message == f"the npy holds {64 + difference} bytes of values; its shape needs 64"


def test_too_many_items_are_refused_before_the_values_are_looked_at() -> None:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 8, 8), }"
    assert refusal(npy_with_header(header)) == (
        ItemStatus.TOO_LARGE,
        "the request has 6 items; at most 5 are taken",
    )
    assert refusal(npy(np.zeros((0, 8, 8), dtype=np.uint8))) == (
        ItemStatus.BAD_INPUT,
        "the request has no items",
    )


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8), 'extra': 1}",
        "{'descr': '|u1', 'fortran_order': False}",
        "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (8, 8)}",
        "{'descr': '|u1', 'fortran_order': 0, 'shape': (8, 8)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': [8, 8]}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8)} + f()",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (8 8)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 1, 8, 8)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (999999999999999, 8, 8)}",
        "(" * 4000,
        "",
    ],
)
def test_a_header_numpy_would_not_write_is_refused(header: str) -> None:
    assert refusal(npy_with_header(header, bytes(64)))[0] is ItemStatus.BAD_INPUT


@pytest.mark.parametrize(
    "data",
    [
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x04\x00" + bytes(100),
        b"\x93NUMPY\x01\x00\xff\xff" + b" " * 100,
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b" " * 100,
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 5000) + b" " * 6000,
    ],
)
def test_a_truncated_or_oversized_header_is_refused(data: bytes) -> None:
    status, message = refusal(data)
    assert status is ItemStatus.BAD_INPUT
    assert message.startswith("the npy header")


def test_a_claimed_size_allocates_nothing() -> None:
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 8, 8), }"
    patient = Expected((1, 8, 8), LimitsConfig(max_items=10**12))
    tracemalloc.start()
    try:
        assert "its shape needs 51199999999488" in refusal(npy_with_header(header), patient)[1]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@FUZZ
@given(st.binary(max_size=200))
def test_random_bytes_after_the_magic_are_survived(tail: bytes) -> None:
    with pytest.raises(ItemError):
        open_npy(b"\x93NUMPY" + tail, GREY)


@FUZZ
@given(st.text("{}()[],:'\" 0123456789descrfotan_hpuU1<>|TrueFalse", max_size=120))
def test_random_headers_are_survived(header: str) -> None:
    with pytest.raises(ItemError):
        open_npy(npy_with_header(header, bytes(64)), GREY)


@FUZZ
@given(st.integers(0, 127), st.integers(0, 255), st.sampled_from(["|u1", "<f8"]))
def test_mutated_headers_are_survived(position: int, value: int, dtype: str) -> None:
    data = bytearray(npy(np.zeros((2, 8, 8), dtype=dtype)))
    data[position] = value
    try:
        images = open_npy(bytes(data), GREY)
    except ItemError as error:
        assert "\n" not in error.message  # noqa: PT017 - both ends are allowed
    else:
        assert images.shape[1:] == (1, 8, 8)
    assert read_header(npy(np.zeros((2, 8, 8), dtype=dtype))).shape == (2, 8, 8)
