from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.array_fields import decode_embedding, decode_input, encode_embeddings, encode_input


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_embeddings_come_back_bit_for_bit(batch: int, seed: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 2**16, (batch, 32), np.uint16)
    texts = encode_embeddings(bits.view(np.float16))
    back = [decode_embedding(text).view(np.uint16) for text in texts]
    assert len(back) == batch
    assert all(np.array_equal(one, other) for one, other in zip(back, bits, strict=True))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.sampled_from([np.uint8, np.float32]), st.integers(0, 2**32 - 1))
def test_inputs_come_back(dtype: Any, seed: int) -> None:
    image = (np.random.default_rng(seed).random((3, 4, 5)) * 200).astype(dtype)
    back = decode_input(encode_input(image))
    assert back.dtype == image.dtype
    assert np.array_equal(back, image)
    back[0] = 0  # the caller owns it


def test_bytes_are_little_endian_and_in_c_order() -> None:
    field = encode_input(np.array([[[1.0, 2.0]]], ">f4"))
    assert field == {"shape": [1, 1, 2], "dtype": "float32", "data": "AACAPwAAAEA="}
    columns_first = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(1, 2, 3))
    assert np.array_equal(decode_input(encode_input(columns_first)), columns_first)


@pytest.mark.parametrize(
    "field",
    [
        {"shape": [1, 1, 1], "dtype": "object", "data": "AA=="},
        {"shape": [1, 1, 2], "dtype": "uint8", "data": "AA=="},
        {"shape": [1, 1, 1], "dtype": "uint8", "data": "?"},
        {"shape": [1, 1, 1], "dtype": "float32", "data": "AA=="},
    ],
)
def test_damaged_fields_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # numpy and base64 word it differently
        decode_input(field)
    with pytest.raises(ValueError):  # noqa: PT011
        decode_embedding("AAA")
