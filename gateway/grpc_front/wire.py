"""How much a message would unfold to, counted on its bytes before protobuf makes objects of them.

64 MiB of empty tensors are 32 million objects: seconds of the event loop, and gigabytes. So a
large message is walked field by field first, and the walk ends at the first limit that is passed.
Source: protobuf's encoding, protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.refusal import Code, Refusal

UNFOLDS_FAST: Final = 65_536
"""Bytes that no walk is worth: whatever they hold is parsed within milliseconds."""
MOST_FIELDS: Final = 65_536
"""Fields that are walked in one message, those of its parts included."""

_VARINT, _FIXED_64, _DELIMITED, _GROUP, _END_GROUP, _FIXED_32 = range(6)
_LONGEST_VARINT: Final = 10


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of a part of a message: how long it may be, and which parts it has itself."""

    most: int | None = None  # bytes, of all parts of that number together; None is as many as come
    parts: Mapping[int, Part] | None = None  # by field number; None is not walked
    named: str = "a part"
    remedy: str = "send less of it"


@dataclass(slots=True)
class _Walk:
    fields: int = 0
    held: dict[int, int] = field(default_factory=dict)  # bytes so far, by the id of a `Part`


def check_wire(data: bytes, parts: Mapping[int, Part], name: str) -> None:
    """Raise `Refusal` if a large message is none, or would unfold beyond the limits."""
    if len(data) <= UNFOLDS_FAST:
        return
    try:
        _walk(data, 0, len(data), parts, _Walk())
    except (IndexError, ValueError):
        raise Refusal(Code.INVALID, f"the request is no message {name}; send one") from None


def _walk(data: bytes, at: int, end: int, parts: Mapping[int, Part], walk: _Walk) -> None:
    while at < end:
        walk.fields += 1
        if walk.fields > MOST_FIELDS:
            raise Refusal(
                Code.TOO_LARGE,
                f"the request has more than {MOST_FIELDS} fields; send values packed, or tensors "
                "in raw_input_contents",
            )
        tag, at = _varint(data, at)
        start, at = _value(data, at, tag & 7)
        if at > end:
            raise ValueError("a field is longer than what holds it")
        part = parts.get(tag >> 3)
        if part is not None and tag & 7 == _DELIMITED:
            _enter(data, start, at, part, walk)


def _enter(data: bytes, start: int, end: int, part: Part, walk: _Walk) -> None:
    if part.most is not None:
        held = walk.held.get(id(part), 0) + end - start
        walk.held[id(part)] = held
        if held > part.most:
            raise Refusal(
                Code.TOO_LARGE, f"{part.named} has more than {part.most} bytes; {part.remedy}"
            )
    if part.parts is not None:
        _walk(data, start, end, part.parts, walk)


def _value(data: bytes, at: int, wire_type: int) -> tuple[int, int]:
    """Return where the value of a field starts and ends."""
    if wire_type == _DELIMITED:
        length, at = _varint(data, at)
        return at, at + length
    if wire_type == _VARINT:
        return at, _varint(data, at)[1]
    if wire_type == _FIXED_64:
        return at, at + 8
    if wire_type == _FIXED_32:
        return at, at + 4
    if wire_type in (_GROUP, _END_GROUP):  # its fields are counted like any others
        return at, at
    raise ValueError("there is no such wire type")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = data[at]
    if number < 0x80:
        return number, at + 1
    number &= 0x7F
    for place in range(1, _LONGEST_VARINT):
        byte = data[at + place]
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("a number has no end")
