"""Reading the one line that matters out of what TorchServe and its workers wrote.

`since` is the size of a log when what matters began; a log that is shorter now has begun anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

MAX_READ = 4 * 1024 * 1024
"""Bytes from the end of a log that are looked at."""

_MODEL_LINE = re.compile(r"\S+ (?:INFO|WARN) +MODEL_LOG - (.*)")
_JAVA_ERROR = re.compile(r"Invalid configuration: .+|(?:[a-z]\w*\.)+(\w+(?:Error|Exception): .+)")
_PYTHON_ERROR = re.compile(r"(?P<module>(?:\w+\.)*)(?P<name>\w+): (?P<message>.+)")
_TRACEBACK = "Traceback (most recent call last):"
_WRAPPED_BY_TORCHSERVE = re.compile(
    r"ModuleNotFoundError: No module named 'ts\.torch_handler\.|RuntimeError: [0-9]{3} - "
)


def python_fault(log: Path, since: int = 0) -> str | None:
    """Return the last exception a worker raised by itself, or None."""
    lines = _lines(log, since)
    faults = list(_raised(match[1] for line in lines if (match := _MODEL_LINE.fullmatch(line))))
    own = [fault for fault in faults if not _WRAPPED_BY_TORCHSERVE.match(fault)]
    return _shortened((own or faults)[-1]) if faults else None


def archive_fault(log: Path, since: int = 0) -> str | None:
    """Return why TorchServe could not load the archive, or None if it did not say so."""
    lines = _lines(log, since)
    for line, following in pairwise([*lines, ""]):
        if " - Failed to load model: " in line:
            return _java_error(following) or line.partition(" - ")[2]
    return None


def java_fault(log: Path, since: int = 0) -> str | None:
    """Return the first exception that TorchServe's frontend wrote to a log, or None."""
    return next((fault for line in _lines(log, since) if (fault := _java_error(line))), None)


def size_of(log: Path) -> int:
    """Return the size of a log; 0 if there is none."""
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def last_line(log: Path, since: int = 0) -> str:
    """Return the last line of a log, '' if there is none."""
    lines = [line for line in _lines(log, since) if line.strip()]
    return lines[-1] if lines else ""


def _lines(path: Path, since: int) -> list[str]:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(max(since if since <= size else 0, size - MAX_READ))
            return file.read(MAX_READ).decode("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _raised(messages: Iterable[str]) -> Iterator[str]:
    """Yield the line that names the exception, for each traceback."""
    inside = False
    for message in messages:
        if message == _TRACEBACK:
            inside = True
        elif inside and message and not message.startswith(" "):
            inside = False
            yield message


def _java_error(line: str) -> str | None:
    match = _JAVA_ERROR.fullmatch(line.strip())
    return match and (match[1] or match[0])


def _shortened(fault: str) -> str:
    """Drop the module from an exception's name, and the name too if the error is one of ours."""
    match = _PYTHON_ERROR.fullmatch(fault)
    if match is None:
        return fault
    if match["module"] == "torchkeep.errors.":
        return match["message"]
    return f"{match['name']}: {match['message']}"
