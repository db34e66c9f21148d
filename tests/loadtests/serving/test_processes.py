"""A server that was started is ended with all below it, and what it cost is counted."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from loadtests.benchmarks.serving.processes import (
    child,
    cpu_seconds,
    free_ports,
    tree,
    wait_until,
)
from torchkeep.errors import ServerError

FAMILY = """
import subprocess, sys, time
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(below.pid, flush=True)
time.sleep(600)
"""
BUSY = (
    "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ntime.sleep(600)"
)


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def has_ended(pid: int) -> bool:
    """An orphan that has ended waits as a zombie for whoever has adopted it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(log: Path, seconds: float = 20.0) -> str:
    deadline = time.monotonic() + seconds
    while not log.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return log.read_text()


def test_a_whole_family_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with child(python(FAMILY), environment=os.environ, folder=tmp_path, log=log) as process:
        below = int(wait_for(log))
        assert {one.pid for one in tree([process.pid])} == {process.pid, below}
    assert has_ended(below)
    assert process.poll() is not None


def test_an_error_in_the_block_ends_it_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    running = child(python(FAMILY), environment=os.environ, folder=tmp_path, log=log)
    process = running.__enter__()
    below = int(wait_for(log))
    stopped = KeyboardInterrupt()
    assert not running.__exit__(KeyboardInterrupt, stopped, None)
    assert has_ended(below)
    assert process.poll() is not None


def test_the_cpu_time_of_a_family_is_counted_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with child(python(BUSY), environment=os.environ, folder=tmp_path, log=log) as process:
        wait_for(log)
        once = cpu_seconds([process.pid])
        assert 0.25 <= once < 5
        assert cpu_seconds([process.pid, process.pid]) == pytest.approx(once, abs=0.1)
    assert cpu_seconds([process.pid]) == 0


def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = python("import sys; sys.exit('no model here')")
    with (
        child(program, environment=os.environ, folder=tmp_path, log=log) as process,
        pytest.raises(ServerError, match="exit code 1: no model here"),
    ):
        wait_until(lambda: False, process, log, seconds=20)


def test_a_server_that_is_silent_is_given_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        child(python(FAMILY), environment=os.environ, folder=tmp_path, log=log) as process,
        pytest.raises(ServerError, match="did not answer within"),
    ):
        wait_until(lambda: False, process, log, seconds=0.3)


def test_free_ports_are_different_ones() -> None:
    assert len(set(free_ports(50))) == 50
