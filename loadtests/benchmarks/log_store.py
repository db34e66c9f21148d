"""The log store at size: records compacted a second, and latency percentiles by hour.

    python -m loadtests.benchmarks.log_store [--items N] [--requests N] [--json]

Records are made in pieces, as a server would log them, and compacted piece by piece; only the
compaction is timed. Then the percentiles are asked of all requests, five times: the first reads
the files, the others find them in memory.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from loadtests.benchmarks.part import Goal, Part
from monitoring.latency import latency_by_hour
from monitoring.store import LogStore
from torchkeep.command_line import run
from torchkeep.errors import UserError

FULL_RECORDS = 10_000_000
LEAST_PER_S, MOST_QUERY_S, MOST_MIB = 30_000.0, 2.0, 1024.0
PIECE = 1_000_000
SEGMENT_BYTES = 64 * 1024 * 1024
TEMPLATES = 5_000
WEEK_NS = 7 * 86_400 * 1_000_000_000
START_NS = 1_767_225_600 * 1_000_000_000
"""2026-01-01, UTC."""
_TIME, _ID = b"1111111111111111111", b"f" * 32
_TIMES_ASKED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """Records of one kind, compacted."""

    kind: str
    records: int
    line_bytes: float
    seconds: float
    cpu_seconds: float
    stored_bytes: float

    @property
    def per_second(self) -> float:
        """Records compacted a second."""
        return self.records / self.seconds

    def line(self) -> str:
        """Return it for people."""
        return (
            f"{self.kind}: {self.records:,} records of {self.line_bytes:.0f} bytes in "
            f"{self.seconds:.1f} s, {self.per_second:,.0f} a second "
            f"({self.records / self.cpu_seconds:,.0f} a second of CPU); "
            f"{self.stored_bytes:.0f} bytes each in the store"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=FULL_RECORDS)
    parser.add_argument("--requests", type=int, default=FULL_RECORDS)
    parser.add_argument("--folder", type=Path, help="where to write, in place of /tmp")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    if min(chosen.items, chosen.requests) < 1:
        raise UserError("items and requests must be above 0")
    part = measure(chosen.items, chosen.requests, chosen.folder)
    sys.stdout.write(json.dumps(part.to_json(), indent=2) + "\n" if chosen.json else part.text())


def measure(items: int, requests: int, folder: Path | None = None) -> Part:
    """Make, compact and ask so many records of each kind."""
    with tempfile.TemporaryDirectory(prefix="tk-log-store-", dir=folder) as place:
        done = [
            _compact(Path(place), "inference", items, _item),
            _compact(Path(place), "access", requests, _request),
        ]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        asked, hours = _ask(Path(place))
    return _part(done, peak, asked, hours)


def _part(done: Sequence[Compaction], peak: float, asked: Sequence[float], hours: int) -> Part:
    median = statistics.median(asked)
    slowest = min(one.per_second for one in done)
    return Part(
        title="The log store",
        lines=[
            *(one.line() for one in done),
            f"peak memory while compacting: {peak:.0f} MiB",
            f"p50, p95 and p99 of three stages over {hours} hours: {median:.2f} s "
            f"(median of {', '.join(f'{one:.2f}' for one in asked)})",
        ],
        goals=[
            Goal(f"at least {LEAST_PER_S:,.0f} records a second", slowest >= LEAST_PER_S),
            Goal(f"at most {MOST_MIB:g} MiB", peak <= MOST_MIB),
            Goal(f"percentiles by hour in at most {MOST_QUERY_S:g} s", median <= MOST_QUERY_S),
        ],
        numbers={
            "compactions": [
                {"kind": one.kind, "records": one.records, "seconds": one.seconds}
                | {"cpu_seconds": one.cpu_seconds, "line_bytes": one.line_bytes}
                for one in done
            ],
            "peak_mib": peak,
            "percentile_seconds": list(asked),
            "hours": hours,
        },
    )


def _compact(
    place: Path, kind: str, count: int, make: Callable[[random.Random], Mapping[str, Any]]
) -> Compaction:
    store = LogStore(place / "store", place / "log")
    before = store.summary().bytes
    chance = random.Random(0)  # noqa: S311 - no secret
    templates = [orjson.dumps(make(chance)).split(_TIME) for _ in range(TEMPLATES)]
    seconds = cpu = size = 0.0
    for first in range(0, count, PIECE):
        piece = range(first, min(first + PIECE, count))
        size += _write(place / "log", _lines(templates, piece, WEEK_NS // count), f"{kind}-{first}")
        began, cpu_began = time.perf_counter(), time.process_time()
        report = store.compact(keep_segments=False)
        seconds += time.perf_counter() - began
        cpu += time.process_time() - cpu_began
        if report.records != len(piece):
            raise UserError(f"{report.records} of {len(piece)} records were taken")
    return Compaction(
        kind=kind,
        records=count,
        line_bytes=size / count,
        seconds=seconds,
        cpu_seconds=cpu,
        stored_bytes=(store.summary().bytes - before) / count,
    )


def _ask(place: Path) -> tuple[list[float], int]:
    asked, rows = [], 0
    for _ in range(_TIMES_ASKED):
        began = time.perf_counter()
        with LogStore(place / "store").connect() as connection:
            rows = len(latency_by_hour(connection, model="mnist"))
        asked.append(time.perf_counter() - began)
    return asked, rows


def _lines(templates: Sequence[list[bytes]], numbers: range, step_ns: int) -> Iterator[bytes]:
    for number in numbers:
        before, after = templates[number % len(templates)]
        name = b"%032x" % (number * 0x9E3779B97F4A7C15 & (1 << 128) - 1)
        yield b"%s%d%s\n" % (before, START_NS + number * step_ns, after.replace(_ID, name, 1))


def _write(log: Path, lines: Iterator[bytes], owner: str) -> int:
    """Write lines as closed segments of the usual size; returns their bytes."""
    log.mkdir(exist_ok=True)
    size = segment = 0
    line: bytes | None = next(lines, None)
    while line is not None:
        path = log / f"{owner}-{START_NS}-{segment:06d}.jsonl"
        with path.open("wb") as file:
            while line is not None and file.tell() < SEGMENT_BYTES:
                file.write(line)
                line = next(lines, None)
            size += file.tell()
        segment += 1
    return size


def _item(chance: random.Random) -> dict[str, Any]:
    """An item of MNIST, much as a worker logs it."""
    shares = sorted((chance.expovariate(1) ** 4 for _ in range(10)), reverse=True)
    p_values = [round(chance.random(), 17) for _ in range(2)]
    histogram = [chance.randrange(30) for _ in range(15)]
    verdict = "suspicious" if min(p_values) < 0.01 else "clean"
    return {
        **_begin("inference"),
        "model": "mnist",
        "model_version": chance.choice(("1.0", "1.1")),
        "role": "default",
        "attempt": 1,
        "item": 0,
        "items": 1,
        "status": "ok",
        "request_type": {
            "protocol": "gateway",
            "content_type": "application/x-torchkeep-envelope",
            "format": "png",
            "operation": "predict",
        },
        "runtime_ms": {
            "decode": chance.expovariate(4),
            "screen_predict": 1 + chance.expovariate(1),
            "total": 2 + chance.expovariate(1),
        },
        "prediction": chance.sample([str(digit) for digit in range(10)], 10),
        "probability": [share / sum(shares) for share in shares],
        "input_data_summary": {
            "shape": [1, 28, 28],
            "dtype": "uint8",
            "bytes": chance.randrange(200, 500),
            "mean": [chance.random() / 4],
            "std": [chance.random() / 3],
            "min": [0.0],
            "max": [1.0],
            "histogram": [784 - sum(histogram), *histogram],
            "sharpness": chance.random() / 2,
        },
        "embedding": f"{chance.getrandbits(256):086d}=="[:88],
        "screening": {
            "verdict": verdict,
            "score": chance.expovariate(0.7),
            "p_value": chance.random(),
            "threshold": 5.88638162612915,
            "calibration_id": "dc93b1d0a28760a4",
            "policy": "flag",
            "heads": dict(zip(("activation", "subset_scan"), p_values, strict=True)),
        },
        "error": None,
        "batch_size": chance.randrange(1, 65),
        "device": "cpu",
        "worker": chance.randrange(1000, 1004),
        "artifact_digest": "6771725540bf0b37f4130942c5f75652a57f14e201ff790f8483d5f50ee1f1e5",
        "code_version": "0.1.0",
        "client": f"{chance.randrange(50):032x}",
        "session_id": f"session-{chance.randrange(2000)}",
        "segments": {"country": chance.choice(("ch", "at", "de")), "plan": "basic"},
        "trace_id": f"{chance.getrandbits(128):032x}",
    }


def _request(chance: random.Random) -> dict[str, Any]:
    """A request, much as the gateway logs it."""
    waits = [chance.expovariate(1), 2 + chance.expovariate(0.2)]
    return {
        **_begin("access"),
        "trace_id": f"{chance.getrandbits(128):032x}",
        "protocol": chance.choice(("rest", "grpc")),
        "route": "/v2/models/{model}/infer",
        "operation": "predict",
        "model": "mnist",
        "model_version": chance.choice(("1.0", "1.1")),
        "client": f"{chance.randrange(50):032x}",
        "code": "OK",
        "http_status": 200,
        "message": "",
        "items": 1,
        "items_ok": 1,
        "bytes_in": chance.randrange(200, 1200),
        "verdict": "clean",
        "queue_ms": round(waits[0], 3),
        "backend_ms": round(waits[1], 3),
        "total_ms": round(sum(waits) + 0.2, 3),
        "batch_size": chance.randrange(1, 65),
        "attempt": 1,
        "gateway": 2000,
        "code_version": "0.1.0",
    }


def _begin(kind: str) -> dict[str, Any]:
    """What every record begins with; time and id are put in for each record."""
    return {
        "schema": 1,
        "kind": kind,
        "timestamp_ns": int(_TIME),
        "request_id": _ID.decode(),
        "correlation_id": None,
    }


if __name__ == "__main__":
    run(main)
