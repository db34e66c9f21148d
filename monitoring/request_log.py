"""The request log: one JSON line a record, on disk before the answer leaves the process.

Handlers write a record for each item, the gateway one for each request.

What `write` has returned from survives the death of the process, and with `fsync` the loss of
power too. Each process writes segments of its own (`monitoring/segment.py`), so processes need no
agreement among themselves; threads share one `RequestLog`, and a forked child starts its own
segment by itself.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import math
import os
import stat
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from monitoring.segment import Owner, Segment, seal_abandoned
from torchkeep.errors import SettingsError, TorchkeepError
from torchkeep.paths import Home
from torchkeep.schema import AccessRecord, InferenceRecord

Record = InferenceRecord | AccessRecord

_logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_WARNINGS = 60.0
_SMALLEST_SEGMENT = 1024


class OnFull(StrEnum):
    """What to do with a request that cannot be logged."""

    ANSWER = "answer"  # answer it and count the lost records
    REFUSE = "refuse"  # refuse it: no answer without a record


class LogFullError(TorchkeepError):
    """A batch could not be logged and the setting says that it must not be answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLogConfig:
    """Section `[request_log]` of the settings."""

    directory: Path | None = None
    """None: the home's. A relative path is taken from the home, the same for every process."""
    fsync: bool = False
    on_full: OnFull = OnFull.ANSWER
    segment_bytes: int = 64 * 1024 * 1024
    sample_inputs: float = 0.0
    """Share of the items whose pixels are logged."""
    segment_attributes: tuple[str, ...] = ()
    """Names of the segment attributes that a caller may have logged."""

    def __post_init__(self) -> None:
        if not 0 <= self.sample_inputs <= 1:
            raise SettingsError(
                f"[request_log] sample_inputs is {self.sample_inputs}",
                remedy="Give a share from 0 to 1.",
            )
        if self.segment_bytes < _SMALLEST_SEGMENT:
            raise SettingsError(
                f"[request_log] segment_bytes is {self.segment_bytes}",
                remedy=f"Give at least {_SMALLEST_SEGMENT}.",
            )
        if not all(isinstance(name, str) and name for name in self.segment_attributes):
            raise SettingsError(
                f"[request_log] segment_attributes is {self.segment_attributes!r}",
                remedy='Give names, such as ["country", "plan"].',
            )

    def location(self, home: Home) -> Path:
        """The directory of the segments."""
        return home.request_log if self.directory is None else home.root / self.directory


class RequestLog:
    """Appends records to this process's segment; threads may share it."""

    def __init__(self, config: RequestLogConfig, *, directory: Path | None = None) -> None:
        """Prepare the directory and close what dead processes left open in it.

        Raises `SettingsError` if the directory cannot be used.
        """
        self._config = config
        self._directory = (directory or config.location(Home.default())).absolute()
        _prepare(self._directory)
        self._start_anew()
        self._closed = False
        self._warned_at = -math.inf
        _call_in_forked_child(weakref.WeakMethod(self._leave_to_parent))

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self._owner = Owner.this_process()
        self._next_seq = 0
        self._segment: Segment | None = None
        self._dropped = 0
        self._dropped_since = 0

    def _leave_to_parent(self) -> None:
        """In a forked child: the parent keeps its segment and its counts.

        The lock is made anew, too: a thread that is not in the child may have held it.
        """
        if self._segment is not None:
            self._segment.disown()
        self._start_anew()

    @property
    def directory(self) -> Path:
        """Where the segments are."""
        return self._directory

    @property
    def dropped(self) -> int:
        """Records lost by this process because they could not be written."""
        return self._dropped

    def write(self, records: Sequence[Record]) -> None:
        """Append the records of one batch, all of them or none.

        A batch that cannot be written (the disk is full) is counted in `dropped`, and the next
        record that gets through says so in `dropped_before`; with `on_full = refuse`, raises
        `LogFullError` as well. Raises `ValueError` after `close`.
        """
        if not records:
            return
        lines = [_line(record) for record in records]
        with self._lock:
            if self._closed:
                raise ValueError("the request log is closed")
            if self._dropped_since:
                lines[0] = _line({**records[0], "dropped_before": self._dropped_since})
            try:
                self._append(b"".join(lines))
            except OSError as error:
                self._drop(len(records), error)
            else:
                self._dropped_since = 0

    def _append(self, lines: bytes) -> None:
        segment = self._segment
        if segment is None or not segment.has_room_for(len(lines), self._config.segment_bytes):
            segment = self._next_segment()
        segment.append(lines)

    def _next_segment(self) -> Segment:
        self._close_segment()
        _make(self._directory)
        while self._segment is None:
            path = self._owner.segment(self._directory, self._next_seq)
            self._next_seq += 1
            try:
                self._segment = Segment(path, fsync=self._config.fsync)
            except FileExistsError:
                continue  # another log of this process was opened in the same nanosecond
        return self._segment

    def _close_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.close()

    def _drop(self, count: int, error: OSError) -> None:
        self._dropped += count
        self._dropped_since += count
        reason = f"request log {self._directory}: {error.strerror or error}"
        now = time.monotonic()
        if now - self._warned_at >= _SECONDS_BETWEEN_WARNINGS:
            self._warned_at = now
            _logger.error("%s; %d records lost so far", reason, self._dropped)
        if self._config.on_full is OnFull.REFUSE:
            raise LogFullError(reason) from error

    def close(self) -> None:
        """Close the current segment, so that it may be shipped. May be called twice."""
        with self._lock:
            if self._dropped and not self._closed:
                _logger.error("request log %s: %d records lost", self._directory, self._dropped)
            self._closed = True
            self._close_segment()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _call_in_forked_child(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    def call_if_alive() -> None:
        if (alive := method()) is not None:
            alive()

    os.register_at_fork(after_in_child=call_if_alive)


def is_sampled(request_id: str, item: int, share: float) -> bool:
    """Whether an item belongs to the sample of that share; a replay decides the same again."""
    name = f"{request_id}\0{item}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


def _line(record: Record | dict[str, Any]) -> bytes:
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    try:
        return orjson.dumps(record, option=options)
    except TypeError:
        # rare, and a caller can cause it: half of a surrogate pair in a text
        return orjson.dumps(_encodable(record), option=options)


def _encodable(value: Any) -> Any:
    """Replace what UTF-8 cannot hold; arrays that orjson does not take become lists."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _prepare(directory: Path) -> None:
    """Make a directory that this process, and no other user, can write to, and tidy it up."""
    try:
        _make(directory)
        mode = stat.S_IMODE(directory.stat().st_mode)
        _probe(directory)
        seal_abandoned(directory)
    except OSError as error:
        raise SettingsError(
            f"the request log cannot use {directory}: {error.strerror}",
            remedy="Name a writable directory in [request_log] directory.",
        ) from error
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(
            f"the request log cannot use {directory}: other users can write to it",
            remedy=f"Run `chmod 700 {directory}`, or name another in [request_log] directory.",
        )


def _make(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)


def _probe(directory: Path) -> None:
    """Create a nameless file; a full disk is no fault of the directory, so it passes."""
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
