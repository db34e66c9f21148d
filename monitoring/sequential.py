"""An alarm that follows the stream item by item, with a designed rate of false alarms.

Each item's scores (how far its embedding, pixels, prediction are from the usual) become conformal
p-values against the reference and the latest items of the stream. While nothing changes they are
uniform, whatever the scores are, so that a fair bet against that wins nothing on average; the
winnings of many bets make a Shiryaev-Roberts statistic. It reaches A once in A items or less
often, as long as nothing changes, and fast when something does.

Its state is a file for each artifact of a model, and one process is at it.

Source: Vovk, "Testing randomness online", Statistical Science 2021; Volkhonskiy et al., "Inductive
conformal martingales for change-point detection", COPA 2017; Shin, Ramdas and Rinaldo,
"E-detectors", New England Journal of Statistics in Data Science 2024.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from monitoring.betting.alarm import Alarm, Counts, SequentialConfig
from monitoring.betting.sequential_alarm import SequentialAlarm
from monitoring.betting.state import damaged
from monitoring.reference import Reference
from torchkeep.atomic_file import write_atomic
from torchkeep.errors import UserError

__all__ = [
    "Alarm",
    "Counts",
    "SequentialAlarm",
    "SequentialConfig",
    "followed",
    "load",
    "save",
    "state_path",
]


def state_path(directory: Path, reference: Reference) -> Path:
    """Return where the state for this model and artifact lies."""
    return directory / f"{reference.model}-{reference.artifact_digest[:16]}.json"


def save(alarm: SequentialAlarm, path: Path) -> None:
    """Write the state, whole or not at all. Raises `UserError` (a full disk, say)."""
    try:
        write_atomic(path, orjson.dumps(alarm.to_json()), mode=0o600)
    except OSError as error:
        raise UserError(f"alarm state {path} cannot be written: {error.strerror}") from error


def load(path: Path, reference: Reference) -> SequentialAlarm:
    """Read a state. Raises `DataError` if it cannot be read, is damaged or of another artifact."""
    try:
        raw = orjson.loads(path.read_bytes())
    except OSError as error:
        raise damaged(path, f"it cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise damaged(path, f"it is not JSON: {error}") from error
    return SequentialAlarm.from_json(raw, reference, path=path)


@contextmanager
def followed(
    directory: Path, reference: Reference, config: SequentialConfig | None = None
) -> Iterator[SequentialAlarm]:
    """Yield the detector kept in `directory` for this artifact; keep it if the block ends well.

    A new artifact starts anew, and so does another config. `save` it on the way where a stream has
    no end. Raises `UserError` if another process has it or it cannot be written, `DataError` if its
    file is damaged.
    """
    wanted = config or SequentialConfig()
    path = state_path(directory, reference)
    with _locked(path.with_suffix(".lock"), reference):
        alarm = load(path, reference) if path.exists() else None
        if alarm is None or alarm.config != wanted:
            alarm = SequentialAlarm.start(reference, wanted)
        yield alarm
        save(alarm, path)


@contextmanager
def _locked(path: Path, reference: Reference) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UserError(f"alarm state cannot be locked by {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(
            f"another process follows {reference.model} {reference.version}",
            remedy="Stop it, or give this one another directory.",
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
