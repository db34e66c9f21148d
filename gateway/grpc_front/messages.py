"""Between the protocol's messages and the tensors of `gateway.openinference`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from gateway.grpc_front.wire import Part, check_wire
from gateway.openinference.tensors import BYTES, InputTensor, OutputTensor, shape_text
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

MOST_INPUTS: Final = 16
MOST_OUTPUTS: Final = 64
MOST_SIDES: Final = 64
MOST_VALUES: Final = 2 * 1024 * 1024
_MOST_TYPED_BYTES: Final = 8 * 1024 * 1024
_IN_RAW: Final = "send them in raw_input_contents"

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

_TENSOR: Final = ModelInferRequest.InferInputTensor
_NUMBERS: Final = Part(most=_MOST_TYPED_BYTES, named="the typed contents", remedy=_IN_RAW)
_TYPED: Final = Part(parts=dict.fromkeys(range(1, 8), _NUMBERS))  # all but bytes_contents
_SHAPE: Final = Part(most=MOST_INPUTS * MOST_SIDES * 10, named="the shapes")  # 10 bytes a side
PARTS: Final[Mapping[int, Part]] = {
    ModelInferRequest.INPUTS_FIELD_NUMBER: Part(
        parts={_TENSOR.SHAPE_FIELD_NUMBER: _SHAPE, _TENSOR.CONTENTS_FIELD_NUMBER: _TYPED}
    ),
    ModelInferRequest.OUTPUTS_FIELD_NUMBER: Part(parts={}),
}
"""What of a ModelInferRequest unfolds to more than its bytes."""

M = TypeVar("M", bound=Message)


def parse(kind: type[M], data: bytes, parts: Mapping[int, Part] | None = None) -> M:
    """Read a message. Raises `Refusal` if the bytes are none, or unfold to too much."""
    check_wire(data, parts or {}, kind.DESCRIPTOR.name)
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
    most = max(len(raws), len(inputs))
    if most > MOST_INPUTS:
        raise Refusal(Code.INVALID, f"the request has {most} inputs; expected one, 'image'")
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
    if len(request.outputs) > MOST_OUTPUTS:
        raise Refusal(
            Code.INVALID,
            f"the request asks for {len(request.outputs)} outputs; name each once, or none for all",
        )
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
    values = _values(tensor, field) if field else ()
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), None, values)


def _values(tensor: ModelInferRequest.InferInputTensor, field: str) -> Sequence[Any]:
    """Return the values of a field as the message holds them.

    They become objects only once the name, the datatype, the shape and their number are right.
    """
    contents: Sequence[Any] = getattr(tensor.contents, field)
    if len(contents) > MOST_VALUES:
        raise Refusal(
            Code.TOO_LARGE,
            f"the input {tensor.name[:40]!r} has {len(contents)} values in {field}; at most "
            f"{MOST_VALUES} are taken there, {_IN_RAW}",
        )
    return contents


def _filled(contents: InferTensorContents) -> list[str]:
    """Return the names of the fields that hold values."""
    return [field.name for field, _ in contents.ListFields()]


def _check_input(tensor: ModelInferRequest.InferInputTensor) -> None:
    if len(tensor.shape) > MOST_SIDES:
        raise Refusal(
            Code.INVALID,
            f"the input {tensor.name[:40]!r} has shape {shape_text(tensor.shape[:9])}; "
            "expected one of 4 sides",
        )
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
