"""What answered, and in which form images came: the markers a change is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A combination of version, code and form of input, and when it was first logged (ns, UTC).

    "" where it is not known; `monitoring.deployments` reads them from the log.
    """

    since_ns: int
    version: str
    code_version: str = ""
    artifact_digest: str = ""
    calibration_id: str = ""
    input_format: str = ""
    input_dtype: str = ""


@dataclass(frozen=True, slots=True)
class Marker:
    """A moment at which something came up that had not been there before."""

    timestamp_ns: int
    says: str  # such as "version 1.1, calibration 8d21"


_SHOWN = {
    "version": "version",
    "code_version": "code",
    "artifact_digest": "artifact",
    "calibration_id": "calibration",
    "input_format": "input format",
    "input_dtype": "input type",
}
_SHORT = 12


def markers(history: Sequence[Deployment]) -> tuple[Marker, ...]:
    """Return the moments at which a value first came up; the beginning of the log is none."""
    known: dict[str, set[str]] = {name: set() for name in _SHOWN}
    found = []
    for number, deployment in enumerate(sorted(history, key=lambda each: each.since_ns)):
        new = []
        for field in fields(Deployment):
            value = str(getattr(deployment, field.name))
            if field.name in known and value and value not in known[field.name]:
                known[field.name].add(value)
                new.append(f"{_SHOWN[field.name]} {value[:_SHORT]}")
        if number and new:
            found.append(Marker(deployment.since_ns, ", ".join(new)))
    return tuple(found)
