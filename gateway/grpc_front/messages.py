"""Between the protocol's messages and the tensors of `gateway.openinference`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from gateway.openinference.tensors import BYTES, InputTensor, OutputTensor
from gateway.refusal import Code, Refusal
from torchkeep.client.stubs.open_inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)

Parameter = bool | int | float | str

SHARED_MEMORY: Final = "shared_memory_region"
CLASSIFICATION: Final = "classification"

_LENGTH_DELIMITED: Final = 2  # wire type
_RAW_CONTENT: Final = bytes(
    (ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER << 3 | _LENGTH_DELIMITED,)
)
_INT_64: Final = range(-(2**63), 2**63)
_CONTENTS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""The field that holds the values of a datatype; 16-bit floats have none."""

M = TypeVar("M", bound=Message)


def parse(kind: type[M], data: bytes) -> M:
    """Read a message. Raises `Refusal` if the bytes are none."""
    try:
        return kind.FromString(data)
    except DecodeError:
        name = kind.DESCRIPTOR.name
        raise Refusal(Code.INVALID, f"the request is no message {name}; send one") from None


def input_tensors(request: ModelInferRequest) -> list[InputTensor]:
    """Return the inputs with their values, raw if the request has raw contents.

    Raises `Refusal` if values come in both ways, in neither, or for another number of inputs.
    """
    raws, inputs = request.raw_input_contents, request.inputs
    if not raws:
        return [_typed(tensor) for tensor in inputs]
    if len(raws) != len(inputs):
        raise Refusal(
            Code.INVALID,
            f"the request has {len(raws)} raw_input_contents for {len(inputs)} inputs; "
            "send one for each",
        )
    return [_raw(tensor, raw) for tensor, raw in zip(inputs, raws, strict=True)]


def requested_outputs(request: ModelInferRequest) -> list[str] | None:
    """Return the names of the outputs that are asked for, None if none is named.

    Raises `Refusal` if an output is asked for in a form that is not offered.
    """
    if not request.outputs:
        return None
    for output in request.outputs:
        if output.parameters:
            _check_output(output)
    return [output.name for output in request.outputs]


def parameter_of(parameters: Mapping[str, InferParameter], name: str) -> Parameter | None:
    """Return the value of a parameter, None if it is not there."""
    if name not in parameters:
        return None
    parameter = parameters[name]
    choice = parameter.WhichOneof("parameter_choice")
    value: Parameter | None = getattr(parameter, choice) if choice else None
    return value


def add_parameters(
    parameters: Any,  # the map of a message, which knows only `[name]`
    values: Mapping[str, Parameter],
) -> None:
    """Put values into the parameters of a message; numbers that are no int64 become doubles."""
    for name, value in values.items():
        parameter = parameters[name]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, str):
            parameter.string_param = value
        elif isinstance(value, int) and value in _INT_64:
            parameter.int64_param = value
        else:
            parameter.double_param = float(value)


def raw_outputs(outputs: Sequence[OutputTensor]) -> bytes:
    """Return the part of a ModelInferResponse that holds tensors with raw contents.

    Messages may be joined as bytes. What describes the tensors is the same for most answers, so it
    is made once; the contents are written as protobuf's encoding has it.
    """
    described = tuple((tensor.name, tensor.datatype, tensor.shape) for tensor in outputs)
    parts = [_described(described)]
    for tensor in outputs:
        content = tensor.raw()
        parts += (_RAW_CONTENT, _varint(len(content)), content)
    return b"".join(parts)


def add_typed_outputs(answer: ModelInferResponse, outputs: Sequence[OutputTensor]) -> None:
    """Put tensors with typed contents into an answer."""
    for tensor in outputs:
        added = answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if tensor.datatype == BYTES:
            added.contents.bytes_contents.extend([str(text).encode() for text in tensor.flat()])
        else:
            getattr(added.contents, _CONTENTS[tensor.datatype]).extend(tensor.flat())


@lru_cache(maxsize=512)
def _described(tensors: tuple[tuple[str, str, tuple[int, ...]], ...]) -> bytes:
    answer = ModelInferResponse()
    for name, datatype, shape in tensors:
        answer.outputs.add(name=name, datatype=datatype, shape=shape)
    return answer.SerializeToString()


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _raw(tensor: ModelInferRequest.InferInputTensor, raw: bytes) -> InputTensor:
    if tensor.HasField("contents") and _filled(tensor.contents):
        raise Refusal(
            Code.INVALID,
            f"the input {tensor.name[:40]!r} has contents, and the request raw_input_contents too; "
            "send only one of them",
        )
    _check_input(tensor)
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), raw, None)


def _typed(tensor: ModelInferRequest.InferInputTensor) -> InputTensor:
    _check_input(tensor)
    field = _CONTENTS.get(tensor.datatype)
    if field is None and tensor.datatype in ("FP16", "BF16"):
        raise Refusal(
            Code.INVALID,
            f"the input {tensor.name[:40]!r} of datatype {tensor.datatype} has no values; "
            "16-bit floats travel in raw_input_contents",
        )
    filled = _filled(tensor.contents)
    if field is not None and filled not in ([], [field]):
        raise Refusal(
            Code.INVALID,
            f"the input {tensor.name[:40]!r} of datatype {tensor.datatype} has values in "
            f"{', '.join(filled)}; expected them in {field}",
        )
    values = list(getattr(tensor.contents, field)) if field else []
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), None, values)


def _filled(contents: InferTensorContents) -> list[str]:
    """Return the names of the fields that hold values."""
    return [field.name for field, _ in contents.ListFields()]


def _check_input(tensor: ModelInferRequest.InferInputTensor) -> None:
    if tensor.parameters and SHARED_MEMORY in tensor.parameters:
        raise _no_shared_memory(f"the input {tensor.name[:40]!r}")


def _check_output(output: ModelInferRequest.InferRequestedOutputTensor) -> None:
    if SHARED_MEMORY in output.parameters:
        raise _no_shared_memory(f"the output {output.name[:40]!r}")
    if CLASSIFICATION in output.parameters:
        raise Refusal(
            Code.UNIMPLEMENTED,
            f"the output {output.name[:40]!r} is asked for as classification; "
            "ask for the outputs 'label' and 'probability' instead",
        )


def _no_shared_memory(what: str) -> Refusal:
    return Refusal(
        Code.UNIMPLEMENTED,
        f"{what} names shared memory; send tensors in raw_input_contents instead",
    )
