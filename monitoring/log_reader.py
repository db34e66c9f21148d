"""Reads the request log back, while it is being written and after a crash alike.

What is not a whole record is never an exception: it is left out, counted and told in a
`ReadReport`. Numbers that JSON cannot hold (NaN, infinity) read back as None.

Readers get the records of one kind, those of items unless they ask for another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from monitoring.segment import closed_name, end_of_whole_lines, segments_in

Record = dict[str, Any]

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is taken for damage, so that no file can exhaust the memory."""
_KEPT_EXAMPLES = 100
_MARK = b'"kind":"access"'  # in the line of each access record, and in hardly any other
_UNFINISHED = "unfinished last line"


class Kind(StrEnum):
    """Which records to read."""

    INFERENCE = "inference"  # one an item, from handlers; a record that does not say counts too
    ACCESS = "access"  # one a request, from the gateway
    ALL = "all"

    def may_be_in(self, line: bytes) -> bool:
        """False if a line is certainly of another kind: parsing it can be saved."""
        return self is not Kind.ACCESS or _MARK in line

    def has(self, record: Record) -> bool:
        """Whether a record is of this kind."""
        return self is Kind.ALL or (record.get("kind") == "access") is (self is Kind.ACCESS)


@dataclass(frozen=True, slots=True)
class Damage:
    """A place in a segment that holds no whole record."""

    segment: str
    offset: int
    fault: str


@dataclass(slots=True)
class ReadReport:
    """What a reading found: `examples` holds the first hundred damages, `damaged` counts all."""

    records: int = 0
    damaged: int = 0
    examples: list[Damage] = field(default_factory=list)

    def add_damage(self, segment: Path, offset: int, fault: str) -> None:
        """Count a damage."""
        self.damaged += 1
        if len(self.examples) < _KEPT_EXAMPLES:
            self.examples.append(Damage(segment.name, offset, fault))


def read_records(
    directory: Path, *, kind: Kind = Kind.INFERENCE, report: ReadReport | None = None
) -> Iterator[Record]:
    """Yield the records of all segments, in the order they were begun and then written.

    A directory that is not there has none. What is damaged goes into `report`.
    """
    return _read(directory, report or ReadReport(), kind, containing=b"")


def find(
    directory: Path,
    request_id: str,
    *,
    kind: Kind = Kind.INFERENCE,
    report: ReadReport | None = None,
) -> list[Record]:
    """Return the records of one request, in the order they were written."""
    as_logged = request_id.encode("utf-8", "backslashreplace").decode()
    quoted = orjson.dumps(as_logged)
    records = _read(directory, report or ReadReport(), kind, containing=quoted)
    return [record for record in records if record.get("request_id") == as_logged]


def tail(directory: Path, count: int, *, kind: Kind = Kind.INFERENCE) -> list[Record]:
    """Return the last `count` records of all segments together, oldest first."""
    return Tail(directory, count, kind=kind).poll()[-count:] if count else []


class Tail:
    """The end of the log: the last lines of each segment at first, then whatever is added.

    A process writes records of one kind only, so the last lines of a segment are of that kind too.
    """

    def __init__(self, directory: Path, last: int, *, kind: Kind = Kind.INFERENCE) -> None:
        """Stand `last` lines before the end of each segment that is there."""
        self._directory = directory
        self._kind = kind
        self._read_to = {
            closed_name(path): _before_last(path, last) for path in segments_in(directory)
        }

    def poll(self) -> list[Record]:
        """Return the whole records that came since the last call, oldest first."""
        records: list[Record] = []
        for segment in segments_in(self._directory):
            with suppress(OSError), _open(segment) as file:
                records += self._new_records(closed_name(segment), file)
        return sorted(records, key=_time)

    def _new_records(self, name: str, file: BinaryIO) -> Iterator[Record]:
        size = os.fstat(file.fileno()).st_size
        # a segment shrinks if a batch did not fit on the disk and was taken back
        self._read_to[name] = min(self._read_to.get(name, 0), size)
        for line in _lines(file, self._read_to[name]):
            if line.fault == _UNFINISHED:
                return
            self._read_to[name] = line.end
            record = _parse(line.content)
            if record is not None and not line.fault and self._kind.has(record):
                yield record


class _Line(NamedTuple):
    start: int
    end: int
    content: bytes
    fault: str  # "" for a whole line


def _read(
    directory: Path, report: ReadReport, kind: Kind, *, containing: bytes
) -> Iterator[Record]:
    for segment in segments_in(directory):
        try:
            with _open(segment) as file:
                yield from _read_segment(segment, file, report, kind, containing)
        except FileNotFoundError:
            continue  # shipped and removed since we looked
        except OSError as error:
            report.add_damage(segment, 0, f"cannot be read: {error.strerror}")


def _read_segment(
    segment: Path, file: BinaryIO, report: ReadReport, kind: Kind, containing: bytes
) -> Iterator[Record]:
    for line in _lines(file, 0):
        if line.fault:
            report.add_damage(segment, line.start, line.fault)
        elif containing in line.content and kind.may_be_in(line.content):
            record = _parse(line.content)
            if record is None:
                report.add_damage(segment, line.start, "not a record")
            elif kind.has(record):
                report.records += 1
                yield record


def _open(segment: Path) -> BinaryIO:
    """Open a segment under its open or, if it was closed since we looked, its closed name."""
    try:
        return segment.open("rb")
    except FileNotFoundError:
        return segment.with_name(closed_name(segment)).open("rb")


def _lines(file: BinaryIO, start: int) -> Iterator[_Line]:
    file.seek(start)
    while content := file.readline(MAX_LINE_BYTES):
        fault = ""
        if not content.endswith(b"\n"):
            fault = _UNFINISHED
            if len(content) == MAX_LINE_BYTES:
                fault = f"line longer than {MAX_LINE_BYTES} bytes"
                _skip_line(file)
        end = file.tell()
        yield _Line(start, end, content, fault)
        start = end


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        continue


def _parse(line: bytes) -> Record | None:
    with suppress(orjson.JSONDecodeError):
        record = orjson.loads(line)
        if isinstance(record, dict):
            return record
    return None


def _before_last(segment: Path, count: int) -> int:
    """The offset of the last `count` whole lines."""
    try:
        with _open(segment) as file:
            descriptor = file.fileno()
            start = end_of_whole_lines(descriptor, os.fstat(descriptor).st_size)
            for _ in range(count):
                start = end_of_whole_lines(descriptor, max(0, start - 1))
            return start
    except OSError:
        return 0


def _time(record: Record) -> int:
    time = record.get("timestamp_ns")
    return time if isinstance(time, int) else 0
