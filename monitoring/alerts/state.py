"""What alerting remembers from one evaluation to the next, in one JSON file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from monitoring.alerts.events import Event
from torchkeep.atomic_file import write_atomic
from torchkeep.errors import UserError

MAX_WAITING = 10_000
"""Events kept for one sink; beyond, the oldest go and are counted."""


class ActiveAlert(msgspec.Struct, frozen=True, kw_only=True):
    """A rule whose condition holds; it fires once `starts_at_ns` is set."""

    labels: dict[str, str]
    scope: dict[str, str]
    """The labels that the evaluation gave."""
    since_ns: int
    evaluations: int
    value: float
    starts_at_ns: int | None = None


class State(msgspec.Struct, kw_only=True):
    """All alerts by fingerprint, and the events that wait for each sink."""

    version: int = 1
    alerts: dict[str, ActiveAlert] = {}
    waiting: dict[str, list[Event]] = {}

    def enqueue(self, sink: str, events: list[Event]) -> int:
        """Add events for a sink; returns how many old ones had to go."""
        queue = self.waiting.get(sink, []) + events
        self.waiting[sink] = queue[-MAX_WAITING:]
        return max(0, len(queue) - MAX_WAITING)


def load_state(path: Path) -> tuple[State, str]:
    """Return the state, and what is wrong with it: a damaged file is set aside for a new one.

    Raises `UserError` if there is a file that cannot be read.
    """
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
        if state.version != 1:
            raise msgspec.ValidationError(f"its version is {state.version}")
        return state, ""
    except FileNotFoundError:
        return State(), ""
    except OSError as error:
        raise UserError(f"alert state {path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        aside = path.with_name(path.name + ".damaged")
        path.replace(aside)
        return State(), f"{path.name} was damaged and is now {aside.name}: {error}"


def save_state(path: Path, state: State) -> None:
    """Write the state, whole or not at all; raises `UserError` if that fails."""
    try:
        write_atomic(path, msgspec.json.encode(state), mode=0o600)
    except OSError as error:
        raise UserError(f"alert state {path} cannot be written: {error.strerror}") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the state for this process; raises `UserError` if another one does."""
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UserError(f"alert state {path} cannot be locked: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UserError(
            f"another process evaluates alerts with {path}", remedy="Let one of them do it."
        ) from error
    finally:
        os.close(descriptor)
