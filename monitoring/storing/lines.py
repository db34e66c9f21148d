"""Lines of a segment as checked records; what is no record is set aside, with its fault.

Whole blocks are decoded at once. Only a block that holds a fault is gone through line by line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import msgspec
import orjson

from monitoring.log_reader import MAX_LINE_BYTES
from monitoring.storing.quarantine import Quarantine
from monitoring.storing.record_types import YEAR_2200_NS, decoder, kind_of, required_fields
from monitoring.storing.report import Fault, Tally
from torchkeep.schema import LOGGED, SCHEMA_VERSION

BLOCK_BYTES = 4 * 1024 * 1024

_NO_RECORD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Block(NamedTuple):
    """Consecutive lines of a segment, or one place in it that is none."""

    offset: int
    content: bytes
    fault: Fault | None = None


def read_blocks(file: BinaryIO) -> Iterator[Block]:
    """Yield whole lines, a few MiB at a time; an unfinished last line comes as `Fault.TORN`."""
    offset, rest = 0, b""
    while chunk := file.read(BLOCK_BYTES):
        rest += chunk
        end = rest.rfind(b"\n") + 1
        if end:
            yield Block(offset, rest[:end])
            offset, rest = offset + end, rest[end:]
        elif len(rest) > MAX_LINE_BYTES:
            yield Block(offset, rest, Fault.TOO_LONG)
            _skip_line(file)
            offset, rest = file.tell(), b""
    if rest:
        yield Block(offset, rest, Fault.TORN)


def decode_block(block: Block, segment: str, quarantine: Quarantine) -> list[msgspec.Struct]:
    """Return the records of a block; count and set aside what is none."""
    quarantine.tally.bytes_read += len(block.content)
    if block.fault is not None:
        quarantine.add(block.fault, segment, block.offset, block.content)
        return []
    try:
        return decoder(strict=True).decode_lines(block.content)
    except _NO_RECORD:
        return list(_one_by_one(block, segment, quarantine))


def _one_by_one(block: Block, segment: str, quarantine: Quarantine) -> Iterator[msgspec.Struct]:
    offset = block.offset
    for line in block.content.split(b"\n"):
        if line.strip():
            try:
                yield _decode(line, quarantine.tally)
            except _NO_RECORD as error:
                quarantine.add(_fault(line, error), segment, offset, line, str(error))
        offset += len(line) + 1


def _decode(line: bytes, tally: Tally) -> Any:
    try:
        return decoder(strict=True).decode(line)
    except msgspec.ValidationError:
        record = decoder(strict=False).decode(line)
    tally.unknown_fields.update(_unknown_fields(line, kind_of(type(record))))
    return record


def _unknown_fields(line: bytes, kind: str) -> list[str]:
    """The fields of a record that the schema does not have; "..." for those within others.

    Their values are not looked at: they may be what no parser takes, such as 1e999.
    """
    fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    known = LOGGED[kind].__annotations__
    return [name for name in fields if name not in known] or ["..."]


def _fault(line: bytes, error: Exception) -> Fault:
    """Name what is wrong with a line that is no record."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return Fault.NOT_JSON
    if not isinstance(record, dict):
        return Fault.NOT_AN_OBJECT
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in LOGGED:
        return Fault.NO_KIND
    if isinstance(record.get("schema"), int) and record["schema"] != SCHEMA_VERSION:
        return Fault.UNKNOWN_SCHEMA
    time = record.get("timestamp_ns")
    if isinstance(time, int | float) and not 0 < time < YEAR_2200_NS:
        return Fault.IMPOSSIBLE_TIME
    missing = required_fields(kind) - record.keys()
    if missing or str(error).startswith("Object missing required field"):
        return Fault.MISSING_FIELD
    return Fault.WRONG_TYPE


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        continue
