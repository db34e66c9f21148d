"""A compaction that dies loses no record and doubles none."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitoring.store import LogStore
from tests.monitoring.records import a_record, an_access_record
from tests.monitoring.store.logged import ids, log_of

ROOT = Path(__file__).parents[3]
BATCHES, ITEMS = 6, 20
NAMES = sorted(f"b{batch}-{item:02}" for batch in range(BATCHES) for item in range(ITEMS))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    for batch in range(BATCHES):
        names = [f"b{batch}-{item:02}" for item in range(ITEMS)]
        log_of(tmp_path / "log", [a_record(name) for name in names])
        log_of(tmp_path / "log", [an_access_record(name) for name in names])
    return tmp_path / "log"


@pytest.mark.parametrize(("point", "entries"), [("parts", 0), ("ledger", 2)])
def test_killed_in_the_middle(tmp_path: Path, log: Path, point: str, entries: int) -> None:
    place = tmp_path / "store"
    script = [sys.executable, "-m", "tests.monitoring.store.killed", str(place), str(log), point]
    assert subprocess.run(script, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert len(list(place.glob("ledger/*.json"))) == entries
    assert list(place.rglob("*.parquet"))
    store = LogStore(place, log)
    assert ids(store) == ids(store, "access") == NAMES  # what was not taken is still in the log
    report = store.compact()
    assert report.duplicates == 0
    assert report.orphans_removed == (1 if point == "parts" else 0)
    assert ids(store) == ids(store, "access") == NAMES
    assert store.summary().records == 2 * len(NAMES)
    assert len(list(place.rglob("*.parquet"))) == store.summary().parts
    assert not list(place.rglob(".tmp-*"))


def test_killed_at_any_moment(tmp_path: Path, log: Path) -> None:
    place = tmp_path / "store"
    code = (
        "import sys; from pathlib import Path; from monitoring.store import LogStore\n"
        "from monitoring.storing import compaction; compaction.ROUND_BYTES = 10_000\n"
        "print('begins', flush=True)\n"
        "LogStore(sys.argv[1], Path(sys.argv[2])).compact()"
    )
    for wait_s in (0.05, 0.2):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(place), str(log)], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begins\n"
            time.sleep(wait_s)
            process.kill()
        assert ids(LogStore(place, log)) == NAMES
    store = LogStore(place, log)
    store.compact()
    assert ids(store) == ids(store, "access") == NAMES
    assert store.summary().records == 2 * len(NAMES)
