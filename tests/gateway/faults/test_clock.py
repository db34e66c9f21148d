"""The wall clock jumps: what is under way is measured and limited by another one."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

from tests.gateway.faults.callers import Crowd
from tests.gateway.faults.ledger import Ledger, codes, told
from tests.house.source_files import ROOT

HOUR = 3600

WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}
MAY_ASK = {
    "http_front/server.py": "the header Date",
    "identity/api_key_file.py": "when a key was made",
    "identity/api_keys.py": "whether a key has expired",
    "identity/local_key.py": "whether a key has expired",
    "identity/tls.py": "whether a certificate has expired",
    "plane/statistics.py": "the time of the last inference",
    "telemetry/access_log.py": "the time of a record",
    "telemetry/tracing.py": "when a span began",
}


def wall_clocks_in(tree: ast.AST) -> set[str]:
    """Return the wall clocks that code asks, by whatever name it imported them."""
    names = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in WALL_CLOCKS
    }
    return names | {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
    }


def test_only_what_is_about_dates_asks_the_wall_clock() -> None:
    gateway = ROOT / "gateway"
    asking = {
        str(path.relative_to(gateway)): found
        for path in gateway.rglob("*.py")
        if (found := wall_clocks_in(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert set(asking) == set(MAY_ASK), asking


@pytest.mark.parametrize(
    "code", ["time.time()", "from time import time", "datetime.now(UTC)", "at = time.time_ns"]
)
def test_a_wall_clock_is_found(code: str) -> None:
    assert wall_clocks_in(ast.parse(code))


@pytest.mark.torchserve
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_clock_that_jumps_costs_nothing(ledger: Ledger, clock: Path, jump: int) -> None:
    async def scene() -> None:
        async with Crowd(ledger, 12, seed=4) as crowd:
            await crowd.until_answered(100)
            clock.write_text(str(jump))
            await crowd.until_answered(200)
            clock.write_text("0")
            await crowd.until_answered(100)

    try:
        asyncio.run(scene())
    finally:
        clock.write_text("0")
    records = ledger.settle()
    assert codes(records) == {"OK"}, told(records)
    assert all(0 <= record["total_ms"] < 60_000 for record in records)
    times = sorted(record["timestamp_ns"] for record in records)
    assert times[-1] - times[0] > abs(jump) * 0.9e9  # it did jump
