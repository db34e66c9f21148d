"""Requests to infer, good and bad."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchkeep.client.stubs import open_inference_pb2 as pb

DATATYPES = {"|u1": "UINT8", "<f4": "FP32", "<f2": "FP16"}


def raw(images: NDArray[Any], **fields: Any) -> pb.ModelInferRequest:
    """A request with raw contents, as clients of Triton send it."""
    request = pb.ModelInferRequest(model_name="digits", **fields)
    request.inputs.add(name="image", datatype=DATATYPES[images.dtype.str], shape=images.shape)
    request.raw_input_contents.append(images.tobytes())
    return request


def typed(images: NDArray[Any], **fields: Any) -> pb.ModelInferRequest:
    """A request with typed contents."""
    request = pb.ModelInferRequest(model_name="digits", **fields)
    datatype = DATATYPES[images.dtype.str]
    tensor = request.inputs.add(name="image", datatype=datatype, shape=images.shape)
    values = tensor.contents.uint_contents if datatype == "UINT8" else tensor.contents.fp32_contents
    values.extend(images.ravel().tolist())
    return request


def files(blobs: Sequence[bytes], *, as_raw: bool) -> pb.ModelInferRequest:
    """A request with encoded images."""
    request = pb.ModelInferRequest(model_name="digits")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[len(blobs)])
    if as_raw:
        request.raw_input_contents.append(
            b"".join(struct.pack("<I", len(blob)) + blob for blob in blobs)
        )
    else:
        tensor.contents.bytes_contents.extend(blobs)
    return request


def bfloat16(images: NDArray[np.float32]) -> bytes:
    """Floats cut to their upper halves."""
    return (images.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()


def outputs(answer: pb.ModelInferResponse) -> dict[str, Any]:
    """The outputs by name, whatever way they came: texts as lists, numbers as arrays."""
    raws = list(answer.raw_output_contents) or [None] * len(answer.outputs)
    return {
        tensor.name: _values(tensor, content)
        for tensor, content in zip(answer.outputs, raws, strict=True)
    }


def _values(tensor: Any, content: bytes | None) -> Any:
    shape = tuple(tensor.shape)
    if tensor.datatype == "BYTES":
        blobs = list(tensor.contents.bytes_contents) if content is None else _cut(content)
        assert shape == (len(blobs),)
        return [blob.decode() for blob in blobs]
    if content is None:
        contents = tensor.contents
        numbers = contents.int_contents if tensor.datatype == "INT32" else contents.fp32_contents
        return np.array(numbers).reshape(shape)
    dtype = {"INT32": "<i4", "FP32": "<f4"}[tensor.datatype]
    return np.frombuffer(content, dtype).reshape(shape)


def _cut(content: bytes) -> list[bytes]:
    blobs = []
    while content:
        (size,) = struct.unpack_from("<I", content)
        blobs.append(content[4 : 4 + size])
        content = content[4 + size :]
    return blobs


def raw_of(count: int) -> pb.ModelInferRequest:
    """A request of so many black images."""
    return raw(np.zeros((count, 1, 8, 8), dtype="|u1"))
