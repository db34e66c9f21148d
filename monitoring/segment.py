"""One segment of the request log: a file of JSON lines that a single process appends to.

    HOST-PID-START-SEQ.jsonl.open   being written; its writer holds an exclusive `flock` on it
    HOST-PID-START-SEQ.jsonl        closed: whole lines only, never changes again, may be shipped
    HOST-PID-START-SEQ.jsonl.torn   a half-written last line, set aside when the segment was closed

START is when the log was opened (UTC, ns), SEQ counts that log's segments. The lock is what tells
a living writer from a dead one: the kernel drops it with the process, whatever ended it, and unlike
a process id it means the same in every container that sees the file.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from torchkeep.atomic_file import write_atomic

CLOSED = ".jsonl"
OPEN = ".jsonl.open"
TORN = ".jsonl.torn"

_NAME = re.compile(
    r"(?P<host>[^/]+)-(?P<pid>\d{1,10})-(?P<start>\d{1,20})-(?P<seq>\d{1,10})\.jsonl(\.open)?"
)
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Owner:
    """Who writes a segment: the host, the process, and when it opened its log (UTC, ns)."""

    host: str
    pid: int
    start_ns: int

    @classmethod
    def this_process(cls) -> Owner:
        """A new owner for the calling process."""
        host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()) or "localhost"
        return cls(host, os.getpid(), time.time_ns())

    def segment(self, directory: Path, seq: int) -> Path:
        """The closed name of this owner's segment number `seq`."""
        return directory / f"{self.host}-{self.pid}-{self.start_ns}-{seq:06d}{CLOSED}"


class Segment:
    """The writing end of one segment. Not thread-safe: its log holds a lock around it."""

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        """Create the segment whose closed name is `path`; with `fsync`, appends outlive power loss.

        Raises `FileExistsError` if there is one already, `OSError` if it cannot be made.
        """
        if path.exists():
            raise FileExistsError(path)
        self._open_path = path.with_suffix(OPEN)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._open_path, flags, 0o600)
        self._fsync = fsync
        self._broken = False
        try:
            self._lock()
            if fsync:
                _sync_directory(path.parent)
        except OSError:
            os.close(self._descriptor)
            raise

    def _lock(self) -> None:
        """Show that the writer lives; raises `FileExistsError` if the segment was just sealed."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(self._open_path) from error
        except OSError:
            return  # no locks on this file system: then nobody can seal it either
        if os.fstat(self._descriptor).st_nlink == 0:
            raise FileExistsError(self._open_path)

    def has_room_for(self, size: int, limit: int) -> bool:
        """Whether `size` more bytes may be appended here; a first batch may exceed the limit."""
        status = os.fstat(self._descriptor)
        deleted = status.st_nlink == 0
        full = status.st_size > 0 and status.st_size + size > limit
        return not (self._broken or deleted or full)

    def append(self, lines: bytes) -> None:
        """Append whole lines by one write, or leave the segment as it was.

        Raises `OSError` if the disk is full or broken. Should the segment not let itself be cut
        back to whole lines, it takes no more: a torn line is always the last of its segment.
        """
        whole = os.fstat(self._descriptor).st_size
        try:
            rest = memoryview(lines)
            while rest:  # more than once only if the disk fills: the second write says why
                rest = rest[os.write(self._descriptor, rest) :]
            if self._fsync:
                os.fdatasync(self._descriptor)
        except BaseException:
            self._cut_back(whole)
            raise

    def _cut_back(self, size: int) -> None:
        try:
            os.ftruncate(self._descriptor, size)
        except OSError:
            self._broken = True

    def close(self) -> None:
        """Give the segment its closed name; one without a line is removed instead.

        A broken segment keeps its open name, and `seal_abandoned` sets its torn line aside.
        """
        if not self._broken:
            with suppress(OSError):  # deleted, or its directory is: there is nothing to name
                _give_closed_name(self._descriptor, self._open_path)
        os.close(self._descriptor)

    def disown(self) -> None:
        """Let go of the parent's segment in a forked child, without touching the file."""
        os.close(self._descriptor)


def segments_in(directory: Path) -> list[Path]:
    """The segments of a directory, open and closed, in the order they were begun.

    Only regular files with a segment's name count. A directory that is not there has none.
    """
    try:
        with os.scandir(directory) as entries:
            found = [
                (int(name["start"]), int(name["seq"]), entry.path)
                for entry in entries
                if (name := _NAME.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return []
    return [Path(path) for _, _, path in sorted(found)]


def closed_name(segment: Path) -> str:
    """The name of a segment once it is closed: the same before and after."""
    return segment.name.removesuffix(OPEN).removesuffix(CLOSED) + CLOSED


def seal_abandoned(directory: Path) -> list[Path]:
    """Close the segments whose writers are dead; return those that now may be shipped.

    A torn last line is moved to the segment's `.torn` file: it was never acknowledged. A segment
    without a line is removed. Living writers' segments and unwritable ones are left alone.
    """
    sealed = []
    for segment in segments_in(directory):
        if segment.name.endswith(OPEN):
            with suppress(OSError), _abandoned(segment) as descriptor:
                _set_torn_line_aside(descriptor, directory / closed_name(segment))
                if _give_closed_name(descriptor, segment):
                    sealed.append(directory / closed_name(segment))
    return sealed


@contextmanager
def _abandoned(segment: Path) -> Iterator[int]:
    """Yield a descriptor of the segment; raises `OSError` unless its writer is dead."""
    descriptor = os.open(segment, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        segment.stat()  # raises if someone else has closed it in the meantime
        yield descriptor
    finally:
        os.close(descriptor)


def _set_torn_line_aside(descriptor: int, segment: Path) -> None:
    size = os.fstat(descriptor).st_size
    whole = end_of_whole_lines(descriptor, size)
    if whole < size:
        torn = os.pread(descriptor, size - whole, whole)
        write_atomic(segment.with_suffix(TORN), torn, mode=0o600)
        os.ftruncate(descriptor, whole)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give_closed_name(descriptor: int, open_path: Path) -> bool:
    """Rename an open segment, or remove it if it is empty; returns whether there is one now."""
    if os.fstat(descriptor).st_size == 0:
        open_path.unlink()
        return False
    open_path.rename(open_path.with_name(closed_name(open_path)))
    return True


def end_of_whole_lines(descriptor: int, end: int) -> int:
    """The offset just after the last newline before `end`; 0 if there is none."""
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
