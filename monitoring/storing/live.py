"""Segments in a log directory that the store has not taken, and how they are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from monitoring.segment import OPEN, TORN, closed_name, segments_in
from monitoring.storing.ledger import Ledger
from torchkeep.errors import UserError


class Source(NamedTuple):
    """A file with lines of the log: a segment, or the torn line of one."""

    path: Path
    name: str
    """What the ledger calls it: the name once closed."""
    size: int
    is_open: bool


def sources(directory: Path) -> list[Source]:
    """The files of a log directory that hold lines of the log, oldest first.

    List them before the ledger is read: what a compaction removes in between is in the ledger then.
    Raises `UserError` if the directory cannot be read; one that is not there has none.
    """
    try:
        found = segments_in(directory)
        torn = sorted(directory.glob(f"*{TORN}"))
    except OSError as error:
        raise UserError(
            f"request log {directory} cannot be read: {error.strerror}",
            remedy="Run this as the user who serves.",
        ) from error
    return [source for path in [*found, *torn] if (source := _source(path))]


def not_taken(found: Iterable[Source], ledger: Ledger) -> list[Source]:
    """Those that hold more than the store has taken."""
    return [source for source in found if not ledger.has(source.name, source.size)]


def open_source(source: Source) -> BinaryIO:
    """Open a source for reading, under its closed name if it was closed meanwhile."""
    try:
        return source.path.open("rb")
    except FileNotFoundError:
        if not source.is_open:
            raise
        return source.path.with_name(source.name).open("rb")


def _source(path: Path) -> Source | None:
    is_open = path.name.endswith(OPEN)
    name = closed_name(path) if is_open else path.name
    try:
        return Source(path, name, path.stat().st_size, is_open)
    except OSError:
        return None  # shipped and removed, or closed, since we looked
