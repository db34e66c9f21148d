"""The state of a sequential alarm as what JSON can hold, and back, believing nothing.

What follows from the reference is not part of it: that comes from the artifact.

    D bets, R items of the stream in the bag, P pending items of a block, S scores
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from torchkeep.errors import DataError

FORMAT = 1

_EXPECTED = "the state of a sequential alarm of this artifact"
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # it goes on being counted
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Won = Annotated[float, msgspec.Meta(ge=0, le=1e200)]  # far above any threshold, finite once more


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a detector knows, but for what it has from the reference. Arrays are bytes, in rows.

    In JSON the bytes are base64.
    """

    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)]
    model: str
    artifact_digest: str
    config: dict[str, int]
    scores: list[str]
    classes: _Count
    lacking: _Count
    late: _Count
    ahead: _Count
    dependent: _Count
    alarms: _Count
    confirmations: _Count
    judged: _Count
    last_rise: _Count
    last_delay: _Count
    watermark: tuple[_Int64, str, _Int64] | None
    recalled: bytes  # uint64
    sessions: bytes  # uint64
    sessions_ns: list[_Int64]
    won: list[_Won]  # D
    cusum: list[_Won]  # D
    since: list[_Count]  # D
    since_ns: list[_Int64]  # D
    recent: bytes  # float32 R S
    recent_predicted: bytes  # int32 R
    pending: bytes  # float32 P S
    pending_predicted: bytes  # int32 P
    risen: bool


def state_of(raw: object, path: object) -> State:
    """Return the state that `raw` holds. Raises `DataError` if it does not hold one."""
    try:
        state = msgspec.convert(raw, State)
    except (msgspec.ValidationError, ValueError) as error:
        raise damaged(path, str(error)) from error
    return state


def to_builtins(state: State) -> dict[str, Any]:
    """Return the state as what JSON can hold."""
    found: dict[str, Any] = msgspec.to_builtins(state)
    return found


def damaged(path: object, fault: str) -> DataError:
    """Return the error that says so."""
    return DataError(path, fault, _EXPECTED, remedy="Delete it to start anew.")


def scores_in(content: bytes, columns: int, path: object) -> NDArray[np.float32]:
    """Return rows of scores. Raises `DataError` if they are not whole and finite."""
    if len(content) % (4 * columns):
        raise damaged(path, "a row of scores is not whole")
    found = np.frombuffer(content, dtype="<f4").astype(np.float32).reshape(-1, columns)
    if not np.isfinite(found).all():
        raise damaged(path, "a score is not finite")
    return found


def classes_in(content: bytes, classes: int, rows: int, path: object) -> NDArray[np.int64]:
    """Return predicted classes of so many rows. Raises `DataError` if they are no such."""
    if len(content) != 4 * rows:
        raise damaged(path, f"{len(content)} bytes of classes for {rows} items")
    found = np.frombuffer(content, dtype="<i4").astype(np.int64)
    if len(found) and not (found.min() >= 0 and found.max() < classes):
        raise damaged(path, "a class that the model does not have")
    return found


def marks_in(content: bytes, path: object) -> tuple[int, ...]:
    """Return the hashes of recalled items. Raises `DataError` if they are not whole."""
    if len(content) % 8:
        raise damaged(path, "a hash is not whole")
    return tuple(np.frombuffer(content, dtype="<u8").tolist())


def sessions_in(state: State, path: object) -> dict[int, int]:
    """Return when each session last counted. Raises `DataError` if that is not whole."""
    names = marks_in(state.sessions, path)
    if len(names) != len(state.sessions_ns):
        raise damaged(path, f"{len(state.sessions_ns)} times of {len(names)} sessions")
    return dict(zip(names, state.sessions_ns, strict=True))
