"""What is finished of an attack: one JSON line an image, appended as it is done.

A line that was torn by a crash is dropped and its image repeated; any other damage is an error.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import msgspec

from torchkeep.errors import DataError, SettingsError


class Outcome(StrEnum):
    """What became of one image."""

    ALREADY_WRONG = "already_wrong"  # the endpoint was wrong before any attack
    FOOLED = "fooled"
    HELD = "held"


class ImageResult(msgspec.Struct, frozen=True, kw_only=True, tag="image"):
    """One attacked image; `accepted` if the wrong answer came with no word of suspicion."""

    index: int
    label: int
    outcome: Outcome
    queries: int
    predicted: int | None = None
    verdict: str | None = None
    accepted: bool = False
    distance: float | None = None


class Spent(msgspec.Struct, frozen=True, kw_only=True, tag="spent"):
    """Queries of images that were broken off."""

    queries: int


Row = ImageResult | Spent


@dataclass(slots=True)
class Results:
    """The rows of one attack, on disk and here."""

    file: BinaryIO
    rows: list[Row] = field(default_factory=list)

    @property
    def images(self) -> list[ImageResult]:
        return [row for row in self.rows if isinstance(row, ImageResult)]

    @property
    def queries(self) -> int:
        """All queries that were spent so far."""
        return sum(row.queries for row in self.rows)

    def add(self, row: Row) -> None:
        """Append a row; it is on disk when this returns."""
        self.file.write(msgspec.json.encode(row) + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        self.rows.append(row)


@contextmanager
def open_results(path: Path, *, fresh: bool = False) -> Iterator[Results]:
    """Open the results at `path`, for this process alone, and go on with what is there.

    Raises `DataError` if they are damaged, `SettingsError` if another process is at them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError("this very attack is running already", remedy="Wait.") from error
        if fresh:
            file.truncate(0)
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        rows = parse_rows(content, path)
        file.truncate(whole)  # what is appended must not join a torn line
        yield Results(file, rows)


def parse_rows(content: bytes, path: object = "results") -> list[Row]:
    """Read all whole lines; the rest after the last newline is torn and passed over."""
    rows: list[Row] = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            rows.append(msgspec.json.decode(line, type=Row))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _damaged(path, f"line {number}: {error}") from error
    _check(rows, path)
    return rows


def _check(rows: Sequence[Row], path: object) -> None:
    indices = [row.index for row in rows if isinstance(row, ImageResult)]
    if len(set(indices)) != len(indices):
        raise _damaged(path, "an image is there twice")
    if any(row.queries < 0 for row in rows):
        raise _damaged(path, "a count is negative")


def _damaged(path: object, fault: str) -> DataError:
    return DataError(path, fault, "results of an attack", remedy="Start over with --fresh.")
