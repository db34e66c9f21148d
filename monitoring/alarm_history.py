"""The alarms that were raised, kept: an alarm of this morning is still told this afternoon.

One JSON file an artifact beside the detector's state, written whole. Whoever follows the stream
holds the detector's lock, so nobody else writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from monitoring.betting.alarm import Alarm
from torchkeep.atomic_file import write_atomic
from torchkeep.errors import DataError, UserError

MOST_ALARMS = 1000
"""Older ones are dropped."""


class AlarmHistory:
    """The alarms of one artifact in `directory`."""

    def __init__(self, directory: Path, model: str, artifact_digest: str) -> None:
        """Name the file; it is made by the first alarm."""
        self.path = directory / f"alarms-{model}-{artifact_digest[:16]}.json"

    def read(self) -> tuple[Alarm, ...]:
        """Return the alarms, oldest first.

        Raises `DataError` if the file holds something else, `UserError` if it cannot be read.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise UserError(f"alarms cannot be read from {self.path}: {error.strerror}") from error
        try:
            return tuple(msgspec.json.decode(content, type=list[Alarm]))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(
                self.path, f"it holds no alarms ({error})", "a list of alarms", remedy="Delete it."
            ) from error

    def add(self, alarms: Sequence[Alarm]) -> tuple[Alarm, ...]:
        """Keep these too, and return all: each once, for after a failure one may rise again.

        Raises `UserError` if they cannot be written.
        """
        kept = tuple(dict.fromkeys((*self.read(), *alarms)))[-MOST_ALARMS:]
        if alarms:
            try:
                write_atomic(self.path, msgspec.json.encode(kept), mode=0o600)
            except OSError as error:
                raise UserError(
                    f"alarms cannot be written to {self.path}: {error.strerror}"
                ) from error
        return kept
