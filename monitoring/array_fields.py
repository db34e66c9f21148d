"""Arrays as text fields of a record: base64 of the values, C order, little endian."""

from __future__ import annotations

import base64
from binascii import b2a_base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchkeep.schema import LoggedInput

_FLOAT16_BYTES = 2


def encode_embeddings(embeddings: NDArray[np.float16]) -> list[str]:
    """Return the field `embedding` of each item; `embeddings` is B 32."""
    data = embeddings.astype("<f2", copy=False).tobytes()
    size = _FLOAT16_BYTES * embeddings.shape[1]
    return [
        b2a_base64(data[start : start + size], newline=False).decode("ascii")
        for start in range(0, len(data), size)
    ]


def decode_embedding(text: str) -> NDArray[np.float16]:
    """Return what `encode_embeddings` was given for one item; raises `ValueError` if damaged."""
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f2").astype(np.float16)


def encode_input(image: NDArray[np.uint8] | NDArray[np.float32]) -> LoggedInput:
    """Return the field `input` of an item; `image` is C H W."""
    little_endian = image.astype(image.dtype.newbyteorder("<"), copy=False)
    return {
        "shape": list(image.shape),
        "dtype": image.dtype.name,
        "data": _encode(little_endian),
    }


def decode_input(field: Mapping[str, Any]) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return the image C H W of a field `input`; raises `ValueError` if damaged."""
    if field["dtype"] not in ("uint8", "float32"):
        raise ValueError(f"expected uint8 or float32, got {field['dtype']!r}")
    values = np.frombuffer(
        base64.b64decode(field["data"], validate=True),
        dtype=np.dtype(field["dtype"]).newbyteorder("<"),
    )
    return values.astype(field["dtype"]).reshape(field["shape"])


def _encode(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
