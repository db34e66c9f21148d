"""The body of `/infer` and `/explain`: JSON, and behind it the binary data of its tensors.

Sources: Open Inference Protocol v2 (inference request object); Triton's extensions "binary tensor
data" and "parameters"; MLServer's `content_type: "base64"` for files in JSON.
"""

from __future__ import annotations

import base64
import gc
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from gateway.openinference.tensors import BYTES, InputTensor
from gateway.refusal import Code, Refusal

MAX_JSON_BYTES: Final = 8 * 1024 * 1024  # parsed, it takes up to 40 times its size
COLLECTED_BYTES: Final = 64 * 1024
MAX_TENSORS: Final = 16
_WHOLE = re.compile(rb"[0-9]{1,18}")


class RequestedOutput(NamedTuple):
    """An output that was asked for by name, and whether as binary data."""

    name: str
    binary: bool


class InferRequest(NamedTuple):
    """A request as it was sent; `timeout_s` is 0 if it names none, `outputs` None: all."""

    id: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[RequestedOutput, ...] | None
    binary: bool  # what outputs are that do not say otherwise
    timeout_s: float

    @property
    def requested(self) -> list[str] | None:
        """Return the names of the outputs that were asked for."""
        return None if self.outputs is None else [output.name for output in self.outputs]


def parse_infer(body: bytes, json_length: bytes | None) -> InferRequest:
    """Read a request; `json_length` is the header `Inference-Header-Content-Length`.

    Tensors with binary data look into `body`. Raises `Refusal` INVALID, TOO_LARGE or
    UNIMPLEMENTED.
    """
    document, data = _split(body, json_length)
    parameters = _object(document, "parameters", "the request")
    binary = _flag(parameters, "binary_data_output", False)
    inputs = _objects(document, "inputs") or []
    return InferRequest(
        id=_text(document, "id", "the request", ""),
        inputs=_tensors(inputs, data),
        outputs=_outputs(_objects(document, "outputs"), binary),
        binary=binary,
        timeout_s=_timeout(parameters),
    )


def _split(body: bytes, json_length: bytes | None) -> tuple[dict[str, Any], memoryview]:
    view = memoryview(body)
    length = len(body)
    if json_length is not None:
        if not _WHOLE.fullmatch(json_length) or int(json_length) > len(body):
            raise _invalid(
                "inference-header-content-length is no whole number of 0 to the "
                f"{len(body)} bytes of the body"
            )
        length = int(json_length)
    if length > MAX_JSON_BYTES:
        raise Refusal(
            Code.TOO_LARGE,
            f"the JSON has {length} bytes; at most {MAX_JSON_BYTES} are read: send the tensor as "
            "binary data",
        )
    try:
        document = _load(view[:length])
    except orjson.JSONDecodeError as error:
        raise _invalid(f"the JSON cannot be parsed: {error}") from None
    if not isinstance(document, dict):
        raise _invalid('the JSON is no object with a list "inputs"')
    return document, view[length:]


def _load(text: memoryview) -> Any:
    """Parse JSON, without the cycle collector where there is much: it takes five times as long.

    Millions of lists would set it off again and again, and it finds no cycles in parsed JSON.
    """
    if len(text) < COLLECTED_BYTES or not gc.isenabled():
        return orjson.loads(text)
    gc.disable()
    try:
        return orjson.loads(text)
    finally:
        gc.enable()


def _tensors(inputs: Sequence[dict[str, Any]], data: memoryview) -> tuple[InputTensor, ...]:
    """Read the tensors; those with binary data take it in the order in which they stand."""
    if len(inputs) > MAX_TENSORS:
        raise _invalid(f"the request has {len(inputs)} inputs; expected exactly one, 'image'")
    tensors, offset = [], 0
    for described in inputs:
        parameters = _object(described, "parameters", "an input")
        _refuse_shared_memory(parameters)
        size = parameters.get("binary_data_size")
        if size is None:
            tensors.append(_tensor(described, None, _values(described, parameters)))
            continue
        if type(size) is not int or not 0 <= size <= len(data) - offset:
            raise _invalid(
                f"binary_data_size of an input is no whole number of 0 to the {len(data) - offset} "
                "bytes left behind the JSON"
            )
        if "data" in described:
            raise _invalid("an input has both data and binary_data_size; send one of them")
        tensors.append(_tensor(described, data[offset : offset + size], None))
        offset += size
    if offset != len(data):
        raise _invalid(
            f"{len(data) - offset} bytes behind the JSON belong to no input; "
            "their inputs must say binary_data_size"
        )
    return tuple(tensors)


def _tensor(
    described: dict[str, Any], raw: memoryview | None, values: list[Any] | None
) -> InputTensor:
    shape = described.get("shape")
    if not isinstance(shape, list) or not all(type(side) is int for side in shape):
        raise _invalid("the shape of an input is no list of whole numbers")
    name = _text(described, "name", "an input", None)
    datatype = _text(described, "datatype", "an input", None)
    return InputTensor(name, datatype, tuple(shape), raw, values)


def _values(described: dict[str, Any], parameters: Mapping[str, Any]) -> list[Any]:
    values = described.get("data")
    if not isinstance(values, list):
        raise _invalid("an input has neither a list data nor binary_data_size")
    if described.get("datatype") == BYTES and parameters.get("content_type") == "base64":
        return [_decode(text) for text in values]
    return values


def _decode(text: Any) -> bytes:
    if isinstance(text, list) and len(text) == 1:
        text = text[0]
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise _invalid("an element of content_type base64 is no base64") from None


def _outputs(
    outputs: Sequence[dict[str, Any]] | None, binary: bool
) -> tuple[RequestedOutput, ...] | None:
    if not outputs:
        return None
    if len(outputs) > MAX_TENSORS:
        raise _invalid(f"the request asks for more than {MAX_TENSORS} outputs")
    requested = []
    for described in outputs:
        parameters = _object(described, "parameters", "an output")
        _refuse_shared_memory(parameters)
        if parameters.get("classification"):
            raise Refusal(
                Code.UNIMPLEMENTED,
                "the parameter classification is not offered; ask for label and probabilities",
            )
        name = _text(described, "name", "an output", None)
        requested.append(RequestedOutput(name, _flag(parameters, "binary_data", binary)))
    return tuple(requested)


def _timeout(parameters: Mapping[str, Any]) -> float:
    """Return the parameter `timeout`, which is in microseconds, as seconds."""
    timeout = parameters.get("timeout", 0)
    if type(timeout) is not int or not 0 <= timeout < 2**63:
        raise _invalid("the parameter timeout is no whole number of microseconds")
    return timeout / 1e6


def _refuse_shared_memory(parameters: Mapping[str, Any]) -> None:
    if "shared_memory_region" in parameters:
        raise Refusal(
            Code.UNIMPLEMENTED, "shared memory is not offered; send the tensor as binary data"
        )


def _objects(document: dict[str, Any], name: str) -> list[dict[str, Any]] | None:
    values = document.get(name)
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise _invalid(f'"{name}" is no list of objects')
    return values


def _object(document: dict[str, Any], name: str, of: str) -> dict[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(f'"{name}" of {of} is no object')
    return value


def _text(document: dict[str, Any], name: str, of: str, default: str | None) -> str:
    value = document.get(name, default)
    if not isinstance(value, str):
        raise _invalid(f'"{name}" of {of} is no text')
    return value


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise _invalid(f"the parameter {name} is neither true nor false")
    return value


def _invalid(message: str) -> Refusal:
    return Refusal(Code.INVALID, message)
