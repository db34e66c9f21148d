"""The load client: `h2load` of nghttp2, compiled, one thread; HTTP/1.1, and HTTP/2 for gRPC.

Each of `clients` connections sends one request after the other. A run in which any request was not
answered well is void: `VoidRunError`. h2load sees HTTP statuses and no gRPC status, but a gRPC
answer that failed has no message: so the bytes of DATA must be those of all answers.
Source: h2load(1), nghttp2 1.52; the columns of `--log-file` are start (µs since 1970), status, and
duration (µs).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtests.benchmarks.serving.doors import Door
from torchkeep.errors import UserError

PROGRAM = "h2load"
LONGEST_RUN_S = 300.0
SILENCE_S = 30
"""A connection on which nothing happens for so long is given up, and the run with it."""

_COUNTS = re.compile(
    r"^requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, "
    r"(\d+) failed, (\d+) errored, (\d+) timeout$",
    re.M,
)
_STATUSES = re.compile(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$", re.M)
_DATA = re.compile(r"^traffic: .* \((\d+)\) data$", re.M)


class VoidRunError(Exception):
    """A run that counts for nothing: some request failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One run; times in seconds, latencies of single requests in milliseconds."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def require_h2load() -> None:
    """Raise `UserError` if there is no h2load."""
    if shutil.which(PROGRAM) is None:
        raise UserError(
            "h2load, the load client, is not installed",
            remedy="Run scripts/install-debian-packages (Debian, as root), or install nghttp2.",
        )


def run_load(door: Door, *, clients: int, requests: int, answer_bytes: int, folder: Path) -> Load:
    """Send `requests` over `clients` connections; `answer_bytes` are those of a good gRPC answer.

    Raises `VoidRunError`.
    """
    body, log = folder / "body", folder / "h2load.log"
    body.write_bytes(door.body)
    log.unlink(missing_ok=True)  # h2load appends
    command = command_line(door, clients=clients, requests=requests, body=body, log=log)
    try:
        ran = subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_RUN_S,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise VoidRunError(f"no end within {LONGEST_RUN_S:g} s") from None
    except subprocess.CalledProcessError as error:
        raise VoidRunError(f"h2load ended with {error.returncode}: {error.stderr[-200:]}") from None
    expected = requests * answer_bytes if door.protocol == "gRPC" else None
    check_summary(ran.stdout, requests, expected)
    return read_log(log.read_text(encoding="ascii"), requests)


def command_line(
    door: Door, *, clients: int, requests: int, body: Path, log: Path
) -> Sequence[str]:
    """Return the command of one run."""
    headers = [f"{name}: {value}" for name, value in door.sent_headers.items()]
    return [
        PROGRAM,
        *(["--h1"] if door.protocol == "REST" else []),
        f"--clients={clients}",
        f"--requests={requests}",
        "--threads=1",
        f"--connection-inactivity-timeout={SILENCE_S}",
        f"--data={body}",
        f"--log-file={log}",
        *(f"--header={header}" for header in headers),
        door.url,
    ]


def check_summary(printed: str, requests: int, data_bytes: int | None) -> None:
    """Raise `VoidRunError` unless all requests were answered well by what h2load printed."""
    counts, statuses, data = (pattern.search(printed) for pattern in (_COUNTS, _STATUSES, _DATA))
    if not (counts and statuses and data):
        raise VoidRunError("h2load printed no summary")
    total, started, done, succeeded, *bad = map(int, counts.groups())
    good, *others = map(int, statuses.groups())
    if (total, started, done, succeeded, good) != (requests,) * 5 or any(bad) or any(others):
        raise VoidRunError(f"of {requests} requests {good} have a good status; {counts[0]}")
    if data_bytes is not None and int(data[1]) != data_bytes:
        raise VoidRunError(
            f"{data[1]} bytes of messages came, {data_bytes} are those of {requests} good answers"
        )


def read_log(text: str, requests: int) -> Load:
    """Read the log of one run. Raises `VoidRunError` if it is not that of so many good answers."""
    try:
        rows = np.array([line.split("\t") for line in text.splitlines()], dtype=np.int64)
    except (ValueError, OverflowError):
        raise VoidRunError("the log of h2load has lines that are no three numbers") from None
    if rows.shape != (requests, 3):
        raise VoidRunError(f"the log of h2load has {len(rows)} lines for {requests} requests")
    begun, status, took = rows.T
    if bad := int(np.count_nonzero((status < 200) | (status > 299))):
        raise VoidRunError(f"{bad} of {requests} requests have another status than 2xx")
    return _load(begun, took)


def _load(begun: NDArray[np.int64], took: NDArray[np.int64]) -> Load:
    seconds = float((begun + took).max() - begun.min()) / 1e6
    if seconds <= 0 or took.min() < 0:
        raise VoidRunError("the log of h2load has times that cannot be")
    p50, p99 = np.percentile(took, [50, 99]) / 1000
    return Load(requests=len(took), seconds=seconds, p50_ms=float(p50), p99_ms=float(p99))
