"""Our proto of the Open Inference Protocol is Triton's and the protocol's own on the wire.

`open_inference_wire.txt` holds what decides that, as their protos have it (Triton's of July 2026;
the protocol's commit d590a98): the number and type of each field, the messages of each method.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
)
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from torchkeep.client.stubs import open_inference_pb2

WIRE = Path(__file__).with_name("open_inference_wire.txt")


def test_it_is_the_protocol_on_the_wire() -> None:
    file = open_inference_pb2.DESCRIPTOR
    assert file.package == "inference"
    found = [
        *(line for each in file.message_types_by_name.values() for line in of_message(each)),
        *(line for each in file.enum_types_by_name.values() for line in of_enum(each)),
        *(
            of_method(method)
            for service in file.services_by_name.values()
            for method in service.methods
        ),
    ]
    assert sorted(found) == sorted(WIRE.read_text(encoding="utf-8").splitlines())


def of_message(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        yield of_field(field)
    for nested in message.nested_types:
        yield from of_message(nested)
    for enum in message.enum_types:
        yield from of_enum(enum)


def of_field(field: FieldDescriptor) -> str:
    kind = FieldDescriptorProto.Type.Name(field.type)  # type: ignore[arg-type]
    words = [str(field.number), kind.removeprefix("TYPE_").lower()]
    if field.is_repeated:
        words.append("repeated")
    if named := field.message_type or field.enum_type:
        words.append(short(named))
    return f"{short(field)}: {' '.join(words)}"


def of_enum(enum: EnumDescriptor) -> Iterator[str]:
    for value in enum.values:
        yield f"{short(enum)}.{value.name}: {value.number}"


def of_method(method: MethodDescriptor) -> str:
    ends = (
        (method.client_streaming, method.input_type),
        (method.server_streaming, method.output_type),
    )
    words = ["stream " * streams + short(message) for streams, message in ends]
    return f"{short(method)}: {' '.join(words)}"


def short(named: Descriptor | EnumDescriptor | FieldDescriptor | MethodDescriptor) -> str:
    return named.full_name.removeprefix("inference.")
