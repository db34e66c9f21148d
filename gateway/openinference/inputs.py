"""From the tensors of a request to a payload: images as numbers, or as encoded files.

Shapes: N items, C H W an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.openinference.tensors import BYTES, InputTensor, shape_text, unpack_bytes, volume
from gateway.question import Payload
from gateway.refusal import Code, Refusal
from gateway.upstream import ServedVersion
from torchkeep.schema import Operation

IMAGE: Final = "image"
DATATYPES: Final = ("UINT8", "FP32", "FP16", "BF16", BYTES)

_UINT8 = np.dtype("|u1")
_FP32 = np.dtype("<f4")
_FP16 = np.dtype("<f2")
_UINT16 = np.dtype("<u2")
_BYTES_A_VALUE: Final = {"UINT8": 1, "FP32": 4, "FP16": 2, "BF16": 2}


def read_payload(
    tensors: Sequence[InputTensor],
    served: ServedVersion,
    operation: Operation = Operation.PREDICT,
) -> Payload:
    """Return the images of a request: uint8 or float32 of shape N C H W, or N encoded ones.

    Values are not judged here, only their number and type: one image with a NaN must not cost
    its neighbours their answers. Raises `Refusal` INVALID or TOO_LARGE, with what was expected.
    """
    tensor = _the_image(tensors)
    if tensor.datatype == BYTES:
        count = _count_of_files(tensor, served, operation)
        return _files(tensor, count)
    if tensor.datatype not in _BYTES_A_VALUE:
        raise _invalid(
            f"the input 'image' has datatype {tensor.datatype[:40]!r}; "
            f"expected one of {', '.join(DATATYPES)}"
        )
    shape = _shape_of_images(tensor, served, operation)
    if tensor.raw is not None:
        return _from_raw(tensor.raw, tensor.datatype, shape)
    return _from_values(tensor.values or (), tensor.datatype, shape)


def _the_image(tensors: Sequence[InputTensor]) -> InputTensor:
    if len(tensors) == 1 and tensors[0].name == IMAGE:
        return tensors[0]
    names = ", ".join(repr(tensor.name[:40]) for tensor in tensors[:5]) or "none"
    more = ", …" if len(tensors) > 5 else ""
    raise _invalid(f"the request has the inputs {names}{more}; expected exactly one, 'image'")


def _shape_of_images(
    tensor: InputTensor, served: ServedVersion, operation: Operation
) -> tuple[int, ...]:
    """Return N C H W after all of it was checked; nothing is allocated before."""
    shape = tensor.shape
    expected = shape_text(("N", *served.input))
    if shape == served.input:
        raise _invalid(
            f"the input 'image' has shape {shape_text(shape)}; expected {expected}: "
            f"send one image as {shape_text((1, *shape))}"
        )
    if shape[1:] != served.input:
        raise _invalid(f"the input 'image' has shape {shape_text(shape)}; expected {expected}")
    _check_count(shape[0], served, operation)
    return shape


def _count_of_files(tensor: InputTensor, served: ServedVersion, operation: Operation) -> int:
    shape = tensor.shape
    if not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        raise _invalid(
            f"the input 'image' of datatype BYTES has shape {shape_text(shape)}; "
            "expected [N], one encoded image each"
        )
    _check_count(shape[0], served, operation)
    return shape[0]


def _check_count(count: int, served: ServedVersion, operation: Operation) -> None:
    if count < 1:
        raise _invalid(f"the input 'image' has {count} items; expected 1 or more")
    explain = operation is Operation.EXPLAIN
    most = served.max_explain_items if explain else served.max_items
    if explain and most == 0:
        raise Refusal(
            Code.UNIMPLEMENTED, "explanations are switched off ([limits] max_explain_items is 0)"
        )
    if count > most:
        verb = "explained" if explain else "taken"
        raise Refusal(
            Code.TOO_LARGE,
            f"the request has {count} items; at most {most} are {verb} at once: send it in parts",
        )


def _from_raw(raw: bytes | memoryview, datatype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    needed = volume(shape) * _BYTES_A_VALUE[datatype]
    if len(raw) != needed:
        raise _invalid(
            f"the input 'image' has {len(raw)} bytes; {datatype} of shape {shape_text(shape)} "
            f"needs {needed}"
        )
    if datatype == "UINT8":
        return np.frombuffer(raw, _UINT8).reshape(shape)
    if datatype == "FP32":
        return np.frombuffer(raw, _FP32).reshape(shape)
    if datatype == "FP16":
        return np.frombuffer(raw, _FP16).astype(np.float32).reshape(shape)
    upper_half = np.frombuffer(raw, _UINT16).astype(np.uint32) << np.uint32(16)
    return upper_half.view(np.float32).reshape(shape)


def _from_values(values: Sequence[Any], datatype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return numbers that came as text or as typed contents, flat or nested.

    Types are checked before NumPy sees them: an array of texts is as wide as the longest of them.
    """
    numbers = list(values) if len(values) == volume(shape) else _leaves(values, shape)
    if not set(map(type, numbers)) <= {int, float}:
        raise _invalid("the data of the input 'image' holds something that is no number")
    return _as_array(numbers, datatype).reshape(shape)


def _leaves(values: Sequence[Any], shape: tuple[int, ...]) -> list[Any]:
    """Return the leaves of a list that is nested as `shape` says, in C order.

    Every level is counted before it is walked: what does not fit must not cost time.
    """
    if len(values) != shape[0]:
        raise _invalid(
            f"the data of the input 'image' has {len(values)} elements; shape {shape_text(shape)} "
            f"needs {volume(shape)} in a flat list, or {shape[0]} nested ones"
        )
    leaves = list(values)
    for side in shape[1:]:
        if not all(type(row) is list and len(row) == side for row in leaves):
            raise _invalid(
                f"the data of the input 'image' is not nested as {shape_text(shape)} throughout"
            )
        leaves = list(chain.from_iterable(leaves))
    return leaves


def _as_array(numbers: list[Any], datatype: str) -> NDArray[Any]:
    if datatype != "UINT8":
        try:
            doubles = np.array(numbers, dtype=np.float64)
        except OverflowError:
            raise _invalid("a number of the input 'image' is too large for a float") from None
        with np.errstate(over="ignore"):
            return doubles.astype(np.float32)
    try:
        return np.frombuffer(bytes(numbers), dtype=np.uint8)  # in a quarter of the time of an array
    except ValueError:
        raise _invalid(
            "the data of the input 'image' goes beyond 0 to 255, which UINT8 takes"
        ) from None
    except TypeError:
        raise _invalid(
            "the data of the input 'image' holds fractions; UINT8 takes whole numbers"
        ) from None


def _files(tensor: InputTensor, count: int) -> list[bytes | memoryview]:
    if tensor.raw is not None:
        try:
            return list(unpack_bytes(tensor.raw, count))
        except ValueError as error:
            raise _invalid(
                f"the BYTES of the input 'image' cannot be taken apart: {error}"
            ) from None
    elements = tensor.values or ()
    if len(elements) != count:
        raise _invalid(
            f"the data of the input 'image' has {len(elements)} elements; its shape says {count}"
        )
    return [_encoded(_only(element)) for element in elements]


def _only(element: Any) -> Any:
    """Return the element of a row of one, for shape [N, 1] may be nested."""
    return element[0] if isinstance(element, list) and len(element) == 1 else element


def _encoded(element: Any) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        return element.encode()
    raise _invalid("an element of BYTES is neither a text nor bytes")


def _invalid(message: str) -> Refusal:
    return Refusal(Code.INVALID, message)
