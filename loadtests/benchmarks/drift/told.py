"""What a contestant's process tells of itself: one line of JSON, the last of its output.

Peers read this file too, in environments of their own: it needs nothing but Python.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path


def tell(
    *,
    seconds: float,
    cpu_seconds: float,
    prepare_seconds: float,
    values: Mapping[str, Sequence[float]],
    packages: Sequence[str],
) -> None:
    """Print the measured seconds (of the wall, of all cores), memory, values and versions."""
    line = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "prepare_seconds": prepare_seconds,
        "peak_mib": peak_mib(),
        "values": {name: list(map(float, each)) for name, each in values.items()},
        "versions": {name: version(name) for name in packages},
    }
    sys.stdout.write(json.dumps(line) + "\n")


def peak_mib() -> float:
    """Return the most memory this process ever had resident, in MiB (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kib) / 1024
